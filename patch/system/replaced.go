package system

import (
	"bytes"
	"context"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"oakum.dev/compliance"
)

// ReadLine is the trimmed text of a small file, or nothing where it cannot be read.
func ReadLine(root fs.FS, name string) string {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// ReplacedFiles lists units whose processes map libraries or programs that have been deleted since.
func ReplacedFiles(ctx context.Context, root fs.FS) ([]compliance.Service, error) {
	entries, err := fs.ReadDir(root, "proc")
	if err != nil {
		return nil, err
	}
	byUnit := map[string]*compliance.Service{}
	self, _ := fs.Stat(root, ".") // an unreadable root has no processes either
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		dir := "proc/" + e.Name()
		b, err := fs.ReadFile(root, dir+"/maps") // of other users: not ours to read
		if err != nil || !bytes.Contains(b, []byte(" (deleted)\n")) {
			continue
		}
		files := deletedFiles(b)
		if len(files) == 0 || !sameRoot(root, dir, self) {
			continue
		}
		unit := unitOf(ReadLine(root, dir+"/cgroup"))
		if unit == "" {
			unit = strings.ReplaceAll(ReadLine(root, dir+"/comm"), ".service", "") // a process calls itself as it likes
		}
		s := byUnit[unit]
		if s == nil {
			s = &compliance.Service{Unit: unit}
			byUnit[unit] = s
		}
		s.PIDs = append(s.PIDs, pid)
		s.Files = append(s.Files, files...)
	}
	var out []compliance.Service
	for _, s := range byUnit {
		slices.Sort(s.PIDs)
		slices.Sort(s.Files)
		s.Files = slices.Compact(s.Files)
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b compliance.Service) int { return strings.Compare(a.Unit, b.Unit) })
	return out, nil
}

// deletedFiles picks the files of packages out of /proc/PID/maps: not memory, shared memory or temporary files.
func deletedFiles(maps []byte) []string {
	var out []string
	for line := range bytes.Lines(maps) {
		text, ok := strings.CutSuffix(strings.TrimSpace(string(line)), " (deleted)")
		if !ok {
			continue
		}
		i := strings.IndexByte(text, '/')
		if i < 0 {
			continue
		}
		file := path.Clean(text[i:])
		w := strings.Fields(text[:i])
		owned := strings.HasPrefix(file, "/usr/") && !strings.HasPrefix(file, "/usr/local/") || strings.HasPrefix(file, "/lib") ||
			strings.HasPrefix(file, "/bin/") || strings.HasPrefix(file, "/sbin/") || strings.HasPrefix(file, "/opt/")
		// Only what is executed matters; fonts, caches and locales are replaced without harm.
		if owned && len(w) > 1 && strings.Contains(w[1], "x") {
			out = append(out, file)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// unitOf finds the unit of the system's service manager in a line of /proc/PID/cgroup. Below a unit its own processes
// choose names, and below user@ that user does: neither may name what root restarts.
func unitOf(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		for part := range strings.SplitSeq(strings.TrimSpace(line), "/") {
			switch {
			case strings.HasPrefix(part, "user@"):
				return ""
			case strings.HasSuffix(part, ".service"):
				return part
			}
		}
	}
	return ""
}
