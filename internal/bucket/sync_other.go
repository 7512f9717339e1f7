//go:build !unix

package bucket

import (
	"errors"
	"syscall"
)

// syncDir does nothing where directories cannot be synced.
func (s *Store) syncDir(string) error { return nil }

// isNotDir knows what Windows answers for a file in the place of a folder and the other way round.
func isNotDir(err error) bool {
	const accessDenied, pathNotFound, directory = syscall.Errno(5), syscall.Errno(3), syscall.Errno(267)
	return errors.Is(err, directory) || errors.Is(err, pathNotFound) || errors.Is(err, accessDenied)
}
