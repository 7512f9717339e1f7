package wua

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"oakum.dev/patch/journal"
)

// Revision is what is remembered of a revision of an update.
type Revision struct {
	Revision       int       `json:"revision"`
	FirstSeen      time.Time `json:"firstSeen"`
	Released       time.Time `json:"released"` // the service's, else FirstSeen
	Classification string    `json:"classification"`
	Severity       string    `json:"severity"`
	LastSeen       time.Time `json:"lastSeen"`
}

// memory is what is kept of updates between runs, by update id: the service only tells of the newest revision, and when
// an update without a date came out nobody says later.
type memory map[string][]Revision

const (
	memoryFile  = "windows-updates.json"
	memoryAge   = 400 * 24 * time.Hour
	memoryLimit = 10000 // updates
	revisions   = 20    // of one update
)

// readMemory starts anew when there is no file or it is damaged: then approval delays count from now on again.
func readMemory(dir string) memory {
	m := memory{}
	if dir == "" {
		return m
	}
	b, err := os.ReadFile(filepath.Join(dir, memoryFile))
	if err != nil || json.Unmarshal(b, &m) != nil {
		return memory{}
	}
	return m
}

// note adds what a search has found.
func (m memory) note(updates []Update, now time.Time) {
	for i := range updates {
		u := &updates[i]
		known := false
		list := m[u.UpdateID]
		for k := range list {
			if list[k].Revision == u.Revision {
				list[k].LastSeen, known = now, true
			}
		}
		if known || len(m) >= memoryLimit {
			continue
		}
		r := Revision{u.Revision, now, u.Released, u.classification(), u.severity(), now}
		if r.Released.IsZero() {
			r.Released = now
		}
		list = append(list, r)
		m[u.UpdateID] = list[max(0, len(list)-revisions):]
	}
}

// of returns the revisions before the update's own, and when that one was first seen.
func (m memory) of(u *Update) (earlier []Revision, firstSeen time.Time) {
	for _, r := range m[u.UpdateID] {
		switch {
		case r.Revision < u.Revision:
			earlier = append(earlier, r)
		case r.Revision == u.Revision:
			firstSeen = r.FirstSeen
		}
	}
	return earlier, firstSeen
}

// save drops what has not been seen for long and writes the rest.
func (m memory) save(dir string, now time.Time) error {
	if dir == "" {
		return nil
	}
	for id, list := range m {
		newest := time.Time{}
		for _, r := range list {
			if r.LastSeen.After(newest) {
				newest = r.LastSeen
			}
		}
		if now.Sub(newest) > memoryAge {
			delete(m, id)
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return journal.WriteFile(filepath.Join(dir, memoryFile), b, 0o600)
}
