package agent

import (
	"context"
	"crypto/rsa"
	"net/http"
	"net/url"

	"oakum.dev/wire/sigv4"
)

// Node is a registered node: its identity and a client that signs as it.
type Node struct {
	reg    *registration
	key    *rsa.PrivateKey
	paths  statePaths
	sys    *System
	client *Client
	creds  *credentialSource

	transport *http.Transport
	rotates   bool // only the agent process changes the node's key
	impatient bool // a failed token request is an error, not a reason to wait
}

// LoadNode reads the registration in a state directory and returns the node, for programs that act as it, such
// as the patch engine started by a document. They share the agent's cached credentials.
// The error is ErrNotRegistered when there is no registration.
func LoadNode(stateDir string) (*Node, error) {
	if stateDir == "" {
		stateDir = DefaultStateDir
	}
	n, err := loadNode(stateDir, RealSystem(), "", DefaultTiming())
	if err == nil {
		n.rotates, n.impatient = false, true
	}
	return n, err
}

// BorrowedNode returns a node whose agent is another one, such as amazon-ssm-agent: the address of its server, its id and
// region, and where its session credentials are to be had. What cannot be delivered is kept below stateDir.
func BorrowedNode(stateDir, endpoint, region, id, version string, borrow func() (sigv4.Credentials, error)) (*Node, error) {
	if stateDir == "" {
		stateDir = DefaultStateDir
	}
	u, err := checkEndpoint(endpoint, true) // the agent has the document that names it over the same way
	if err != nil {
		return nil, err
	}
	sys, t := RealSystem(), DefaultTiming()
	n := &Node{reg: &registration{InstanceID: id, Region: region, Endpoint: endpoint, Profile: ProfileFull}, paths: pathsOf(stateDir), sys: sys, impatient: true}
	if n.transport, err = newTransport(sys, trust{}, u, ""); err != nil {
		return nil, err
	}
	n.client = newClient(sys, u, region, n.transport, version, t)
	n.creds = &credentialSource{node: n, timing: t, borrow: borrow, sem: make(chan struct{}, 1)}
	n.client.creds = n.creds
	return n, nil
}

func loadNode(dir string, sys *System, version string, t Timing) (*Node, error) {
	reg, err := readRegistration(dir)
	if err != nil {
		return nil, err
	}
	endpoint, err := checkEndpoint(reg.Endpoint, reg.InsecureHTTP)
	if err != nil {
		return nil, err
	}
	n := &Node{reg: reg, paths: pathsOf(dir), sys: sys, rotates: true}
	if n.key, err = reg.key(); err != nil {
		return nil, err
	}
	pin, err := parsePin(reg.CAPin)
	if err != nil {
		return nil, err
	}
	n.transport, err = newTransport(sys, trust{caPEM: []byte(reg.CA), pin: pin}, endpoint, reg.Proxy)
	if err != nil {
		return nil, err
	}
	n.client = newClient(sys, endpoint, reg.Region, n.transport, version, t)
	n.creds = newCredentialSource(n, t)
	n.client.creds = n.creds
	return n, nil
}

func newClient(sys *System, endpoint *url.URL, region string, tr http.RoundTripper, version string, t Timing) *Client {
	agent := Name
	if version != "" {
		agent += "/" + version
	}
	return &Client{
		http:     &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		endpoint: endpoint, region: region, userAgent: agent, sys: sys, timeout: t.RequestTimeout,
	}
}

// InstanceID returns the node's id, mi-....
func (n *Node) InstanceID() string { return n.reg.InstanceID }

// Region returns the region the node is registered in.
func (n *Node) Region() string { return n.reg.Region }

// Endpoint returns the server's address.
func (n *Node) Endpoint() string { return n.reg.Endpoint }

// StateDir returns the directory of the node's state.
func (n *Node) StateDir() string { return n.paths.dir }

// Profile returns ProfileFull or ProfilePatchOnly.
func (n *Node) Profile() string { return n.reg.Profile }

// fingerprint is the one of the registration as long as the machine has the machine-id it registered with. A clone
// or an image gets another one, which the server refuses until the node is registered again.
func (n *Node) fingerprint() string {
	now := n.sys.machineID()
	if now == n.reg.MachineID || now == "" || n.reg.MachineID == "" || n.reg.MachineID == "uninitialized" {
		return n.reg.Fingerprint
	}
	return replyID(n.reg.Fingerprint, now)
}

// Client returns the client that signs as the node.
func (n *Node) Client() *Client { return n.client }

// HTTPClient returns the client of the node's connections, with its trust and proxy, for unsigned requests such
// as presigned downloads from the same server.
func (n *Node) HTTPClient() *http.Client { return &http.Client{Transport: n.transport} }

// Credentials returns valid session credentials of the node.
func (n *Node) Credentials(ctx context.Context) (sigv4.Credentials, error) {
	s, err := n.creds.get(ctx)
	return s.Credentials, err
}
