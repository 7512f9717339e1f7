//go:build !unix && !windows

package agent

import (
	"fmt"
	"os"
)

func verifyOwned(path string, dir bool) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if dir != info.IsDir() || !dir && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a plain file or directory: refusing to use it", path)
	}
	return nil
}

func lockState(path string, _ bool) (*stateLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return &stateLock{f}, nil
}
