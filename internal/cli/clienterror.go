package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/aws/smithy-go"

	"oakum.dev/awserr"
)

// skewLimit is how far a client's clock may be off before the server refuses its signatures.
const skewLimit = 5 * time.Minute

// explain turns the error of a call into what happened and what to do about it.
func (c *Client) explain(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*ExitError](err); ok {
		return err
	}
	if code, message, ok := apiError(err); ok {
		return failed(c.explainAnswer(code, message))
	}
	return failed(explainNetwork(err, c.Endpoint.String(), c.Endpoint.Hostname()))
}

// apiError returns the code and message of an error that the server answered.
func apiError(err error) (code, message string, ok bool) {
	if e, found := errors.AsType[*awserr.Error](err); found {
		return e.Code, e.Message, true
	}
	if e, found := errors.AsType[smithy.APIError](err); found {
		return e.ErrorCode(), e.ErrorMessage(), true
	}
	return "", "", false
}

func isCode(err error, codes ...string) bool {
	code, _, ok := apiError(err)
	for _, c := range codes {
		if ok && c == code {
			return true
		}
	}
	return false
}

func (c *Client) explainAnswer(code, message string) error {
	switch code {
	case "InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed":
		if ahead, ok := c.clock.ahead(); ok && ahead.Abs() >= skewLimit {
			return hinted(skewText(ahead), "set this machine's clock, for example with chrony or systemd-timesyncd")
		}
		if strings.HasPrefix(message, "Signature expired") || strings.HasPrefix(message, "Signature not yet current") {
			return hinted("the server refused the signature because of its time: "+message, "compare the clocks of this machine and of the server")
		}
		return hinted("the server refused the signature", "the secret key does not belong to the access key id; check the credentials, or a proxy changed the request")
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "MissingAuthenticationTokenException", "MissingAuthenticationToken":
		return hinted("the server does not know this access key",
			`is it the right server and profile? On the server's host, "oakum admin new-key --data-dir DIR" makes a new key`)
	case "ExpiredTokenException", "ExpiredToken":
		return hinted("the credentials have expired", "get new ones")
	case "AccessDeniedException", "AccessDenied":
		return hinted("not allowed: "+message, "ask an administrator for the permission")
	case "UnknownOperationException", "InvalidAction":
		return hinted("the server does not know this operation", "it is older than this program, or it is not an Oakum server")
	}
	if message == "" {
		return errors.New(code)
	}
	return fmt.Errorf("%s (%s)", strings.TrimRight(message, "."), code)
}

func skewText(ahead time.Duration) string {
	side := "behind"
	if ahead < 0 {
		side = "ahead of"
	}
	return fmt.Sprintf("this machine's clock is %s %s the server's, which is more than signatures allow", ahead.Abs().Round(time.Second), side)
}

// explainNetwork says why a server could not be reached.
func explainNetwork(err error, address, host string) error {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return hinted(fmt.Sprintf("the name %s cannot be resolved: %s", e.Name, e.Err), "check --endpoint-url and the name service of this machine")
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return hinted("the certificate of "+address+" is signed by an authority that this machine does not trust",
			"give the server's authority, ca.pem of its data directory, with --ca-file or AWS_CA_BUNDLE")
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return hinted(fmt.Sprintf("the certificate of %s is for other names: %s", address, strings.Join(append(e.Certificate.DNSNames, ipTexts(e.Certificate.IPAddresses)...), ", ")),
			"use one of these names, or list "+host+" when starting the server")
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return hinted("the certificate of "+address+" is not valid: "+e.Error(), "check the clocks of this machine and of the server")
	}
	switch {
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"): // the standard library has no value for it
		return hinted(address+" speaks plain HTTP", "use http:// in --endpoint-url")
	case errors.Is(err, syscall.ECONNREFUSED):
		return hinted("nothing listens at "+address+": connection refused", "is the server running, and is the port right? See --endpoint-url")
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return hinted("there is no route to "+address, "check the network, VPN and proxy of this machine")
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return hinted(address+" closed the connection", "does it want https? A firewall or proxy may stand between")
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return hinted(address+" does not answer", "check the address, firewalls and the proxy settings (HTTPS_PROXY, NO_PROXY)")
	}
	return fmt.Errorf("call %s: %w", address, err)
}

func ipTexts(ips []net.IP) []string {
	out := make([]string, len(ips))
	for i, ip := range ips {
		out[i] = ip.String()
	}
	return out
}
