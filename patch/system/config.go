package system

import (
	"context"
	"io/fs"
	"time"

	"oakum.dev/patch"
)

// Config says where a node's root is and what may be used there.
type Config struct {
	FS       fs.FS         // the node's root file system
	Root     string        // its path, "/" for the running system; programs are pointed at it
	Live     bool          // it is the running system: processes and locks are looked at
	Exec     patch.Exec    // runs the package manager; nil: never
	CacheDir string        // for what was read out of metadata; empty: no cache
	LockWait time.Duration // how long locks of others are waited for; 0: 10 minutes
	// Released asks when a file in an archive's pool was published (Last-Modified of its address); nil: nobody knows.
	// It is asked once per new version of a .deb package, and only when the baseline has delays.
	Released func(ctx context.Context, uri string) (time.Time, bool)
	// Note receives sentences for the person who waits; may be nil.
	Note func(string)
}

// Complete fills in what was left out.
func (c Config) Complete() Config {
	if c.LockWait == 0 {
		c.LockWait = 10 * time.Minute
	}
	if c.Note == nil {
		c.Note = func(string) {}
	}
	return c
}
