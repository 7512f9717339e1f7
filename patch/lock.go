package patch

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Owner names who holds the engine's lock.
type Owner struct {
	PID     int       `json:"pid"`
	Run     string    `json:"run,omitempty"` // command or execution id
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
}

func (o Owner) String() string {
	s := fmt.Sprintf("process %d (%s)", o.PID, o.Command)
	if o.Run != "" {
		s += ", run " + o.Run
	}
	if !o.Since.IsZero() {
		s += ", since " + o.Since.UTC().Format(time.RFC3339)
	}
	return s
}

// Lock takes the engine's lock in dir, waiting up to budget for another run to end. waiting is called once with the
// holder when it has to wait. The error of a run that never gets it is an *Error with reason LOCKED.
func Lock(ctx context.Context, dir string, me Owner, budget time.Duration, waiting func(Owner)) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, Fail("LOCKED", "make the state folder: %w", err)
	}
	path := filepath.Join(dir, "engine.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, Fail("LOCKED", "open the engine's lock: %w", err)
	}
	if err := f.Chmod(0o600); err != nil { // whoever can read the file can keep its lock
		f.Close()
		return nil, Fail("LOCKED", "open the engine's lock: %w", err)
	}
	timer := time.NewTimer(budget)
	defer timer.Stop()
	for told := false; ; {
		ok, err := tryLock(f)
		if err != nil {
			f.Close()
			return nil, Fail("LOCKED", "lock %s: %w", path, err)
		}
		if ok {
			break
		}
		holder := readOwner(path)
		if !told && waiting != nil {
			waiting(holder)
		}
		told = true
		select {
		case <-ctx.Done():
			f.Close()
			return nil, &Error{Reason: "LOCKED", Code: CodeFailed, Err: ctx.Err()}
		case <-timer.C:
			f.Close()
			return nil, Fail("LOCKED", "another patch run has not ended after %s: %s", budget, holder)
		case <-time.After(200 * time.Millisecond):
		}
	}
	b, err := json.Marshal(me)
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(b, 0)
	}
	if err != nil {
		f.Close()
		return nil, Fail("DISK", "take the engine's lock: %w", err)
	}
	return func() { f.Close() }, nil
}

func readOwner(path string) Owner {
	var o Owner
	if b, err := os.ReadFile(path); err != nil || json.Unmarshal(b, &o) != nil {
		o.Command = "unknown"
	}
	return o
}
