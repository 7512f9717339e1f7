package patch

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"oakum.dev/compliance"
)

// State is what the engine remembers between runs.
type State struct {
	ScanSeq      int64     `json:"scanSeq"`
	LastNoReboot time.Time `json:"lastNoRebootInstallOperationTime,omitzero"`
	BootID       string    `json:"bootId,omitempty"` // during which Pending was installed
	Pending      []string  `json:"pending,omitempty"`
	// Fetched are the instants at which each repository was last fetched or confirmed, by its address and suite.
	Fetched map[string]time.Time `json:"fetched,omitempty"`
	// Live are the live patches that were last in force; nil: none.
	Live *liveMemory `json:"livePatches,omitempty"`
}

// liveMemory is what was in force on which kernel during which boot.
type liveMemory struct {
	BootID  string   `json:"bootId"`
	Kernel  string   `json:"kernel"`
	Modules []string `json:"modules"`
}

// observe sets what lp has lost since the node was started again, and remembers what is in force now. What was lost stays
// so until a module is in force again, another kernel runs, or the live patches are gone: then nothing is expected any more.
// Services that bring their patches themselves, without packages, are not watched: they do so some time after the boot.
func (s *State) observe(lp *compliance.LivePatch, bootID string) {
	was := s.Live
	s.Live = nil
	switch {
	case lp == nil || bootID == "":
	case lp.Transition: // what is in force is known when it has ended
		s.Live = was
	case len(lp.Modules) > 0:
		s.Live = &liveMemory{bootID, lp.Kernel, lp.Modules}
	case was == nil || was.Kernel != lp.Kernel || was.BootID == bootID || len(lp.Packages) == 0:
	default:
		lp.Lost, s.Live = was.Modules, was
	}
}

// confirm notes which repositories a refresh has confirmed, and says of the others when that was so last.
func (s *State) confirm(repos []compliance.Repository, now time.Time) {
	fetched := make(map[string]time.Time, len(repos))
	for i := range repos {
		r := &repos[i]
		key := strings.TrimSpace(r.URI + " " + r.Suite)
		switch at := s.Fetched[key]; {
		case !r.Stale: // a file that did not change keeps its old time on the disk
			r.RefreshedAt = now.UTC().Truncate(time.Second)
		case at.After(r.RefreshedAt) && !at.After(now):
			r.RefreshedAt = at
		}
		if !r.RefreshedAt.IsZero() {
			fetched[key] = r.RefreshedAt
		}
	}
	s.Fetched = fetched
}

const stateFile = "engine-state.json"

// pending returns the titles that wait for a reboot: none when the system has been started again since.
func (s *State) pending(bootID string) map[string]bool {
	if len(s.Pending) == 0 || bootID == "" || s.BootID != bootID {
		return nil
	}
	m := make(map[string]bool, len(s.Pending))
	for _, t := range s.Pending {
		m[t] = true
	}
	return m
}

// loadState reads the state, or its previous generation when the file is damaged. A missing file is a zero State.
func loadState(dir string) (State, error) {
	if dir == "" {
		return State{}, nil
	}
	s, err := readState(filepath.Join(dir, stateFile))
	if err == nil {
		return s, nil
	}
	// Without the file: a first run, or a crash between the two renames of save.
	old, oldErr := readState(filepath.Join(dir, stateFile+".old"))
	if errors.Is(err, fs.ErrNotExist) && (oldErr == nil || errors.Is(oldErr, fs.ErrNotExist)) {
		return old, nil
	}
	if oldErr != nil {
		return State{}, fmt.Errorf("engine state lost: %w", err)
	}
	return old, fmt.Errorf("engine state taken from its previous generation: %w", err)
}

func readState(path string) (State, error) {
	var s State
	b, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	var doc struct {
		Sum   string          `json:"sha256"`
		State json.RawMessage `json:"state"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	if sum := sha256.Sum256(doc.State); hex.EncodeToString(sum[:]) != doc.Sum {
		return s, fmt.Errorf("%s: checksum does not match", path)
	}
	if err := json.Unmarshal(doc.State, &s); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// save replaces the state file and keeps the former one beside it.
func (s *State) save(dir string) error {
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	path := filepath.Join(dir, stateFile)
	text := fmt.Sprintf("{\"sha256\":%q,\"state\":%s}\n", hex.EncodeToString(sum[:]), body)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("save engine state: %w", err)
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("save engine state: %w", err)
	}
	if err := os.Rename(path, path+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("save engine state: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("save engine state: %w", err)
	}
	return nil
}
