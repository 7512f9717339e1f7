package agent

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// trust is what a server's certificate must prove: a chain to one of the given authorities, or to the one
// authority with the pinned hash, or (both empty) to the system's.
type trust struct {
	caPEM []byte
	pin   []byte // SHA-256 of the authority's certificate or of its public key
}

var errPin = errors.New("the server's certificate authority does not match the pin")

// parsePin reads "sha256:HEX" or plain hex, colons allowed between bytes.
func parsePin(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	digits := strings.ReplaceAll(strings.TrimPrefix(strings.ToLower(s), "sha256:"), ":", "")
	pin, err := hex.DecodeString(digits)
	if err != nil || len(pin) != sha256.Size {
		return nil, fmt.Errorf("the pin %q is not sha256: with 64 hexadecimal digits", s)
	}
	return pin, nil
}

func matchesPin(cert *x509.Certificate, pin []byte) bool {
	whole, key := sha256.Sum256(cert.Raw), sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return subtle.ConstantTimeCompare(whole[:], pin)|subtle.ConstantTimeCompare(key[:], pin) == 1
}

// tlsConfig has no way to switch verification off: with a pin, the standard check is replaced by one against
// the pinned authority alone, with the same rules on names, times and usages.
func (t trust) tlsConfig(host string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if len(t.caPEM) > 0 {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(t.caPEM) {
			return nil, errors.New("the CA file holds no PEM certificate")
		}
	}
	if len(t.pin) == 0 {
		return cfg, nil
	}
	var given []*x509.Certificate
	for rest := t.caPEM; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			given = append(given, cert)
		}
	}
	cfg.InsecureSkipVerify = true // VerifyConnection below verifies the chain, against the pinned authority
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return errPin
		}
		roots, between, found := x509.NewCertPool(), x509.NewCertPool(), false
		for _, cert := range append(given, cs.PeerCertificates...) {
			if matchesPin(cert, t.pin) {
				roots.AddCert(cert)
				found = true
			} else {
				between.AddCert(cert)
			}
		}
		if !found {
			return fmt.Errorf("%w sha256:%x", errPin, t.pin)
		}
		_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: between, DNSName: host, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		return err
	}
	return cfg, nil
}

// newTransport makes the one connection pool of a node. HTTP/1.1 only: two connections do, and it is lighter.
func newTransport(sys *System, t trust, endpoint *url.URL, proxy string) (*http.Transport, error) {
	cfg, err := t.tlsConfig(endpoint.Hostname())
	if err != nil {
		return nil, err
	}
	tr := &http.Transport{
		Proxy:               sys.Proxy,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     cfg,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 2,
		IdleConnTimeout:     2 * time.Minute,
		DisableCompression:  true,
		ReadBufferSize:      4 << 10,
		WriteBufferSize:     4 << 10,
	}
	if proxy != "" {
		u, err := url.Parse(proxy)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("the proxy %q must look like http://HOST:PORT", proxy)
		}
		tr.Proxy = http.ProxyURL(u)
	}
	return tr, nil
}

// isPEM reports whether b holds at least one certificate.
func isPEM(b []byte) bool { return bytes.Contains(b, []byte("-----BEGIN CERTIFICATE-----")) }
