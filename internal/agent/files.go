package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of a look for files. DirScanLimit of a request may be lower or higher than its default.
const (
	defaultDirScan = 5000
	maxDirScan     = 100_000
	maxFileFilters = 50
	fileScanTime   = time.Minute
)

// fileFilter is one element of the parameter files. Source: AWS Systems Manager User Guide, "Working with file and Windows
// registry inventory".
type fileFilter struct {
	Path         string
	Pattern      []string
	Recursive    bool
	DirScanLimit *int
}

// files lists the files that match the filters of a JSON text. notes say what was left out.
func (a *Agent) files(ctx context.Context, text string) (rows []map[string]string, notes []string, err error) {
	var filters []fileFilter
	dec := json.NewDecoder(strings.NewReader(text))
	if err := dec.Decode(&filters); err != nil || dec.More() {
		return nil, nil, errors.New(`files is not a JSON list such as [{"Path":"/etc","Pattern":["*.conf"],"Recursive":true}]`)
	}
	if len(filters) > maxFileFilters {
		return nil, nil, fmt.Errorf("files has %d elements; at most %d are taken", len(filters), maxFileFilters)
	}
	for _, f := range filters {
		if err := f.check(); err != nil {
			return nil, nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, fileScanTime)
	defer cancel()
	s := fileScan{agent: a, seen: map[string]bool{}}
	for _, f := range filters {
		if err := s.scan(ctx, f); err != nil {
			return nil, nil, err
		}
	}
	slices.SortFunc(s.rows, func(x, y map[string]string) int {
		return strings.Compare(x["InstalledDir"]+"\x00"+x["Name"], y["InstalledDir"]+"\x00"+y["Name"])
	})
	return s.rows, s.notes, nil
}

func (f *fileFilter) check() error {
	switch {
	case !filepath.IsAbs(f.Path):
		return fmt.Errorf("the path %.120q is not absolute", f.Path)
	case len(f.Pattern) == 0:
		return fmt.Errorf("the path %.120q comes without a Pattern", f.Path)
	case f.DirScanLimit != nil && (*f.DirScanLimit < 1 || *f.DirScanLimit > maxDirScan):
		return fmt.Errorf("DirScanLimit %d is not in the range 1 to %d", *f.DirScanLimit, maxDirScan)
	}
	for _, p := range f.Pattern {
		if _, err := filepath.Match(p, ""); err != nil || strings.ContainsRune(p, filepath.Separator) {
			return fmt.Errorf("%.120q is not a pattern of file names", p)
		}
	}
	return nil
}

type fileScan struct {
	agent *Agent
	rows  []map[string]string
	notes []string
	seen  map[string]bool
	full  bool
}

// pseudo are the file systems that show processes and devices, not files.
var pseudo = []string{"/proc", "/sys", "/dev", "/run"}

// scan walks one filter. Links are not followed, but for the path itself.
func (s *fileScan) scan(ctx context.Context, f fileFilter) error {
	limit := defaultDirScan
	if f.DirScanLimit != nil {
		limit = *f.DirScanLimit
	}
	prefix := strings.TrimSuffix(s.agent.sys.path("/"), string(filepath.Separator))
	path := s.agent.sys.path(f.Path)
	if filepath.VolumeName(f.Path) != "" { // C:\ is below nothing else
		path = f.Path
	}
	top, err := filepath.EvalSymlinks(path)
	if err != nil {
		s.notes = append(s.notes, fmt.Sprintf("%.200q cannot be read: %v", f.Path, errors.Unwrap(err)))
		return nil
	}
	if !strings.HasPrefix(top, prefix) { // of a tree that stands for a machine, only what is in it
		return fmt.Errorf("the path %.120q leads out of the machine", f.Path)
	}
	dirs, unread := 0, 0
	err = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			unread++
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		name := strings.TrimPrefix(path, prefix)
		if d.IsDir() {
			if path != top && (!f.Recursive || slices.Contains(pseudo, name)) {
				return fs.SkipDir
			}
			if dirs++; dirs > limit {
				s.notes = append(s.notes, fmt.Sprintf("%.200q has more than %d directories: the rest was not looked at", f.Path, limit))
				return fs.SkipAll
			}
			return nil
		}
		if !d.Type().IsRegular() || s.seen[name] || !f.matches(d.Name()) {
			return nil
		}
		if len(s.rows) == maxEntries {
			if !s.full {
				s.notes = append(s.notes, fmt.Sprintf("more than %d files match: the rest was left out", maxEntries))
			}
			s.full = true
			return fs.SkipAll
		}
		info, err := d.Info()
		if err != nil { // gone since
			return nil
		}
		s.seen[name] = true
		s.rows = append(s.rows, fileEntry(name, info))
		return nil
	})
	if unread > 0 {
		s.notes = append(s.notes, fmt.Sprintf("below %.200q %d directories could not be read", f.Path, unread))
	}
	if errors.Is(err, context.DeadlineExceeded) {
		s.notes = append(s.notes, fmt.Sprintf("the look below %.200q took longer than %s: the rest was left out", f.Path, fileScanTime))
		return nil
	}
	return err
}

func (f *fileFilter) matches(name string) bool {
	return slices.ContainsFunc(f.Pattern, func(p string) bool {
		ok, err := filepath.Match(p, name)
		return err == nil && ok
	})
}

func fileEntry(path string, info os.FileInfo) map[string]string {
	text := func(s string) string { return strings.ToValidUTF8(s, "\ufffd") }
	row := map[string]string{
		"Name": text(filepath.Base(path)), "Size": strconv.FormatInt(info.Size(), 10), "InstalledDir": text(filepath.Dir(path)),
		"ModificationTime": info.ModTime().UTC().Format(time.RFC3339),
	}
	if t := accessTime(info); !t.IsZero() {
		row["LastAccessTime"] = t.UTC().Format(time.RFC3339)
	}
	return row
}
