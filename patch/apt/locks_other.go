//go:build !linux

package apt

import (
	"context"
	"time"
)

func waitLocks(context.Context, []string, time.Duration, func(string)) error { return nil }

func waitTransactions(context.Context, time.Duration, func(string)) error { return nil }
