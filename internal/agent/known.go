package agent

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"oakum.dev/patch/journal"
)

// The memory of received commands: ids are kept 45 days or 10,000 entries, whichever is more.
const (
	knownFor = 45 * 24 * time.Hour
	knownMin = 10000
)

// known remembers which commands were received, so that none is started twice.
type known struct {
	mu   sync.Mutex
	path string
	j    *journal.Journal
	at   map[string]int64 // command id: when received, Unix seconds
}

type knownRecord struct {
	ID string `json:"id"`
	At int64  `json:"at"`
}

func openKnown(path string, now time.Time) (*known, error) {
	j, records, err := journal.Open(path)
	if err != nil {
		return nil, err
	}
	k := &known{path: path, j: j, at: make(map[string]int64, len(records))}
	for _, b := range records {
		var r knownRecord
		if json.Unmarshal(b, &r) == nil {
			k.at[r.ID] = r.At
		}
	}
	if len(records) > 2*knownMin || len(records) > 2*len(k.at) && len(records) > 100 {
		err = k.compact(now)
	}
	return k, err
}

// compact forgets old entries and rewrites the file. It is called only at start.
func (k *known) compact(now time.Time) error {
	var all []knownRecord
	for id, at := range k.at {
		all = append(all, knownRecord{id, at})
	}
	slices.SortFunc(all, func(a, b knownRecord) int { return int(b.At - a.At) }) // newest first
	oldest := now.Add(-knownFor).Unix()
	keep := len(all)
	for keep > knownMin && all[keep-1].At < oldest {
		keep--
	}
	var content []byte
	k.at = make(map[string]int64, keep)
	for _, r := range slices.Backward(all[:keep]) {
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		content = journal.Encode(content, b)
		k.at[r.ID] = r.At
	}
	if err := k.j.Close(); err != nil {
		return err
	}
	if err := journal.WriteFile(k.path, content, 0o600); err != nil {
		return err
	}
	var err error
	k.j, _, err = journal.Open(k.path)
	return err
}

// has reports whether the command was received before.
func (k *known) has(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.at[id]
	return ok
}

// add remembers a command for good.
func (k *known) add(id string, now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.at[id]; ok {
		return nil
	}
	if err := k.j.AppendJSON(knownRecord{id, now.Unix()}); err != nil {
		return err
	}
	k.at[id] = now.Unix()
	return nil
}

func (k *known) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.j.Close()
}

// unfinished lists the commands of a directory whose journal has no end.
func unfinished(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var ids []string
	for _, e := range entries {
		if state, err := readCommandState(commandPaths(dir, e.Name()).journal); err == nil && !state.done {
			ids = append(ids, e.Name())
		}
	}
	return ids
}

// EndedCommands are the commands that the agent with this state directory has brought to an end.
func EndedCommands(stateDir string) (map[string]bool, error) {
	if stateDir == "" {
		stateDir = DefaultStateDir
	}
	dir := pathsOf(stateDir).commands
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	out := map[string]bool{}
	for _, e := range entries {
		if state, err := readCommandState(commandPaths(dir, e.Name()).journal); err == nil && state.done {
			out[e.Name()] = true
		}
	}
	return out, nil
}
