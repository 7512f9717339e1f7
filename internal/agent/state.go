package agent

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"oakum.dev/patch/journal"
)

// DefaultStateDir is where the agent keeps its registration, journal and queues: /var/lib/oakum, on Windows
// %ProgramData%\Oakum.
var DefaultStateDir = defaultStateDir()

// Privileged reports whether this process may change the system: root, or on Windows SYSTEM or an administrator with all
// rights.
func Privileged() bool { return effectiveUID() == 0 }

// BootID changes with every boot of this machine; it is empty where there is none.
func BootID() string { return bootID() }

// OwnStateDir makes the default state folder, for whoever keeps something there before there is an agent. It refuses a
// folder that somebody else has made.
func OwnStateDir() (string, error) {
	if err := makeDir(DefaultStateDir); err != nil {
		return "", err
	}
	return DefaultStateDir, nil
}

// ErrNotRegistered is returned when a state directory holds no registration.
var ErrNotRegistered = errors.New("this node is not registered")

type statePaths struct {
	dir, registration, credentials, awsCredentials, lock, commands, outbox, inventory, known, status string
}

func pathsOf(dir string) statePaths {
	p := func(name string) string { return filepath.Join(dir, name) }
	return statePaths{
		dir: dir, registration: p("registration.json"), credentials: p("credentials.json"), awsCredentials: p("aws-credentials"),
		lock: p("agent.lock"), commands: p("commands"), outbox: p("outbox"), inventory: p("inventory"), known: p("known"), status: p("status.json"),
	}
}

// registration is what makes a state directory a node. The private key is in the same file as the id it belongs
// to, so that both change at once.
type registration struct {
	InstanceID   string `json:"instanceId"`
	Region       string `json:"region"`
	Endpoint     string `json:"endpoint"`
	InsecureHTTP bool   `json:"insecureHttp,omitzero"`
	Proxy        string `json:"proxy,omitzero"`
	Profile      string `json:"profile"`
	CAPin        string `json:"caPin,omitzero"`
	CA           string `json:"ca,omitzero"` // PEM
	Fingerprint  string `json:"fingerprint"`
	MachineID    string `json:"machineId,omitzero"`
	PrivateKey   []byte `json:"privateKey"`              // PKCS#8 DER
	NextKey      []byte `json:"nextPrivateKey,omitzero"` // of a rotation whose answer is not known yet
	RegisteredAt string `json:"registeredAt"`
}

var nodeIDPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\Ami-[0-9a-f]{17}\z`) })

func readRegistration(dir string) (*registration, error) {
	path := pathsOf(dir).registration
	if err := verifyPrivate(dir, path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %s holds no registration", ErrNotRegistered, dir)
		}
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	reg := &registration{}
	if err := json.Unmarshal(b, reg); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if !nodeIDPattern().MatchString(reg.InstanceID) {
		return nil, fmt.Errorf("read %s: %q is not the id of a managed node", path, reg.InstanceID)
	}
	return reg, nil
}

func (r *registration) save(dir string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return journal.WriteFile(pathsOf(dir).registration, append(b, '\n'), 0o600)
}

func (r *registration) key() (*rsa.PrivateKey, error) { return parseKey(r.PrivateKey) }

func parseKey(der []byte) (*rsa.PrivateKey, error) {
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	key, ok := k.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("read private key: it is not an RSA key")
	}
	return key, nil
}

// makeDir makes a directory only its owner can enter and verifies one that exists.
func makeDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o700)
	switch {
	case err == nil:
		return protect(dir)
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	return verifyOwned(dir, true)
}

// verifyPrivate checks the state directory and a secret file in it.
func verifyPrivate(dir, file string) error {
	if err := verifyOwned(dir, true); err != nil {
		return err
	}
	return verifyOwned(file, false)
}

// stateLock is held by the process that owns a state directory.
type stateLock struct{ file *os.File }

func (l *stateLock) release() {
	_ = l.file.Close() // nothing was written to it
}
