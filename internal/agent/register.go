package agent

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"regexp"
	"sync"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// Options say how a node registers.
type Options struct {
	Endpoint, Region             string
	ActivationID, ActivationCode string
	CAFile                       string // PEM of the server's authority; "" for the system's
	CAPin                        string // sha256:HEX of the authority's certificate or public key
	StateDir                     string // DefaultStateDir
	Proxy                        string // http://HOST:PORT; "" for the environment's
	Profile                      string // ProfileFull or ProfilePatchOnly; "" is full
	Force                        bool   // replace a registration; the node gets a new id
	InsecureHTTP                 bool   // allow http:// to an address that is not loopback
	Version                      string
	System                       *System // the real one
}

var regionPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\A[A-Za-z0-9-]{1,100}\z`) })

// Register makes a key pair, exchanges the activation for a node id and writes the state directory, which must
// not hold a registration yet. Nothing is left behind when it fails. It returns the node's id.
func Register(ctx context.Context, o Options) (string, error) {
	if o.System == nil {
		o.System = RealSystem()
	}
	if o.StateDir == "" {
		o.StateDir = DefaultStateDir
	}
	reg, client, err := prepare(o)
	if err != nil {
		return "", err
	}
	if err := makeDir(o.StateDir); err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	lock, err := lockState(pathsOf(o.StateDir).lock, false)
	if err != nil {
		return "", err
	}
	defer lock.release()
	if old, err := readRegistration(o.StateDir); err == nil && !o.Force {
		return "", fmt.Errorf("this node is already registered as %s (in %s)", old.InstanceID, o.StateDir)
	} else if err != nil && !errors.Is(err, ErrNotRegistered) && !o.Force {
		return "", err
	}
	key, der, err := newKey(o.System)
	if err != nil {
		return "", err
	}
	public, err := publicKey(key)
	if err != nil {
		return "", err
	}
	in := &ssm.RegisterManagedInstanceInput{
		ActivationId: &o.ActivationID, ActivationCode: &o.ActivationCode,
		PublicKey: &public, PublicKeyType: new("Rsa"), Fingerprint: &reg.Fingerprint,
	}
	var out ssm.RegisterManagedInstanceOutput
	if err := client.send(ctx, client.timeout, "ssm", "RegisterManagedInstance", codec.Marshal(in), &out, nil); err != nil {
		return "", explain(err, o)
	}
	reg.InstanceID, reg.PrivateKey = codec.Value(out.InstanceId), der
	if !nodeIDPattern().MatchString(reg.InstanceID) {
		return "", fmt.Errorf("the server answered with %q, which is not the id of a managed node", reg.InstanceID)
	}
	if err := forget(o.StateDir); err != nil {
		return "", err
	}
	return reg.InstanceID, reg.save(o.StateDir)
}

func prepare(o Options) (*registration, *Client, error) {
	endpoint, err := checkEndpoint(o.Endpoint, o.InsecureHTTP)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case !regionPattern().MatchString(o.Region):
		return nil, nil, fmt.Errorf("the region %q must be 1 to 100 letters, digits or hyphens", o.Region)
	case o.ActivationID == "" || o.ActivationCode == "":
		return nil, nil, errors.New("an activation id and an activation code are needed")
	case o.Profile == "":
		o.Profile = ProfileFull
	case o.Profile != ProfileFull && o.Profile != ProfilePatchOnly:
		return nil, nil, fmt.Errorf("the profile %q must be %s or %s", o.Profile, ProfileFull, ProfilePatchOnly)
	}
	pin, err := parsePin(o.CAPin)
	if err != nil {
		return nil, nil, err
	}
	var ca []byte
	if o.CAFile != "" {
		if ca, err = os.ReadFile(o.CAFile); err != nil {
			return nil, nil, fmt.Errorf("read the CA file: %w", err)
		}
		if !isPEM(ca) {
			return nil, nil, fmt.Errorf("%s holds no PEM certificate", o.CAFile)
		}
	}
	tr, err := newTransport(o.System, trust{caPEM: ca, pin: pin}, endpoint, o.Proxy)
	if err != nil {
		return nil, nil, err
	}
	tr.DisableKeepAlives = true // one call
	fingerprint, err := o.System.uuid()
	if err != nil {
		return nil, nil, err
	}
	return &registration{
		Region: o.Region, Endpoint: endpoint.String(), InsecureHTTP: o.InsecureHTTP, Proxy: o.Proxy, Profile: o.Profile,
		CAPin: o.CAPin, CA: string(ca), Fingerprint: fingerprint, MachineID: o.System.machineID(),
		RegisteredAt: o.System.Now().UTC().Format(time.RFC3339),
	}, newClient(o.System, endpoint, o.Region, tr, o.Version, DefaultTiming()), nil
}

// forget removes what belongs to an earlier registration: another id's credentials, replies and commands.
func forget(dir string) error {
	p := pathsOf(dir)
	for _, path := range []string{p.registration, p.credentials, p.awsCredentials, p.outbox, p.commands, p.known, p.inventory, p.status} {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// explain adds what to do to the errors an operator sees at registration.
func explain(err error, o Options) error {
	hint := map[string]string{
		"InvalidActivation":         "the activation id or code is wrong, or the activation was deleted; make a new one with \"oakum activation create\"",
		"ActivationExpired":         "the activation has expired; make a new one with \"oakum activation create\"",
		"RegistrationLimitExceeded": "the activation has registered as many nodes as it may; make a new one with \"oakum activation create\"",
	}[awserr.Code(err)]
	switch {
	case hint != "":
		return fmt.Errorf("%w: %s", err, hint)
	case awserr.Code(err) != "":
		return err
	case errors.Is(err, errPin):
		return fmt.Errorf("%w; compare it with the one the server prints", err)
	}
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("the certificate of %s is not trusted: %w; give the server's authority with --ca-file or --ca-pin", o.Endpoint, e)
	}
	return fmt.Errorf("register with %s: %w", o.Endpoint, err)
}

// newKey makes an RSA key like that of amazon-ssm-agent and returns it also as PKCS#8.
func newKey(sys *System) (*rsa.PrivateKey, []byte, error) {
	key, err := rsa.GenerateKey(sys.Rand, 2048)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key pair: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key pair: %w", err)
	}
	return key, der, nil
}

func publicKey(key *rsa.PrivateKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(der), nil
}
