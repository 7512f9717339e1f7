//go:build !unix

package journal

const noFollow = 0

// SyncDir makes the entries of a directory durable, where the system has a way to.
func SyncDir(string) error { return nil }
