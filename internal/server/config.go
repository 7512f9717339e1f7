package server

import (
	"log/slog"
	"time"
)

// Config is what a server is built from.
type Config struct {
	DataDir      string
	Listen       []string // URLs
	InsecureHTTP bool     // http:// on other than loopback addresses
	TLSCert      string   // PEM files; empty: the server's own authority
	TLSKey       string
	DatabaseURL  string // postgres://...; empty: SQLite in the data directory
	Account      string // 12 digits
	Region       string // of what the server makes itself, such as the first activation
	BehindProxy  []string
	// CompatLivePatchReboot keeps AWS's rule that RebootIfNeeded reboots a node after any installed patch: also when
	// only kernel live patches were installed.
	CompatLivePatchReboot bool
	Version               string
	Binary                string // path of this program, for nodes to install

	Log *slog.Logger
	Now func() time.Time
}

// DefaultAccount is the account of a first start that names none.
const DefaultAccount = "000000000001"

// DefaultRegion is where what the server makes itself lives.
const DefaultRegion = "us-east-1"
