//go:build !linux

package system

import (
	"context"
	"time"
)

// WaitLocks does not wait where no package manager takes locks that can be seen.
func WaitLocks(context.Context, []string, time.Duration, func(string)) error { return nil }

// WaitTransactions has nothing to wait for here.
func WaitTransactions(context.Context, []string, time.Duration, func(string)) error { return nil }
