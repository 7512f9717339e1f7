//go:build unix

package agent

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"oakum.dev/document"
)

// TestEngineIsGivenUp starts a patch engine that is killed every time: after three further starts its run is ended, by an
// engine that may be killed as well, and the step says so.
//
// proves R-11
func TestEngineIsGivenUp(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	var mu sync.Mutex // the agent's start calls it too
	settled := map[string]int{}
	run(t, registered(t, f), func(c *Config) {
		c.Settle = func(_ context.Context, command string) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			switch settled[command]++; {
			case command == "": // at the start
				return "", nil
			case settled[command] == 1:
				return "", errors.New("signal: killed")
			}
			return "run-1: Interrupted: 2 of 3 installed", nil
		}
	})
	content := strings.Replace(string(doc22("PatchLinux", "sh -c 'kill -9 $$'; exit")), `"mainSteps"`, `"parameters":{"Operation":{"type":"String"}},"mainSteps"`, 1)
	id := f.send(cmd1, document.RunPatchBaseline, []byte(content), `{"Operation":"Install"}`, "")
	s := f.final(t, id).RuntimeStatus["PatchLinux"]
	want := "OAKUM INTERRUPTED: step PatchLinux was started 4 times and never finished; run-1: Interrupted: 2 of 3 installed (engine code 1)\n"
	if s.Status != document.Failed || !strings.HasPrefix(s.StandardError, want) {
		t.Errorf("step %+v", s)
	}
	mu.Lock()
	defer mu.Unlock()
	if settled[cmd1] != 2 || settled[""] > 1 {
		t.Errorf("ended: %v", settled)
	}
}
