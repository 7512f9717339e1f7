//go:build !linux

package cli

import "errors"

func diskSpace(string) (free, total int64, err error) { return 0, 0, errors.ErrUnsupported }

func lockedBy(string) (int, error) { return 0, nil }
