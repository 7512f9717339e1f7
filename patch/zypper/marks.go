package zypper

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"oakum.dev/patch"
	"oakum.dev/patch/system"
)

// marks is where libzypp lists, a name a line, what was installed for other packages only.
const marks = "var/lib/zypp/AutoInstalled"

func (m *Manager) autoInstalled() ([]string, error) {
	b, err := system.ReadFile(m.cfg.FS, marks)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what is installed for others: %w", err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out, nil
}

// Settle marks packages as installed for others that were marked so: zypper takes the mark off what it is told to install.
func (m *Manager) Settle(_ context.Context, changes []patch.Change, _ *os.File) error {
	have, err := m.autoInstalled()
	if err != nil {
		return err
	}
	var more []string
	for _, c := range changes {
		if c.Auto && c.New != "" && !slices.Contains(have, c.Name) && !slices.Contains(more, c.Name) {
			more = append(more, c.Name)
		}
	}
	if len(more) == 0 {
		return nil
	}
	file := filepath.Join(m.cfg.Root, marks)
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("mark what is installed for others: %w", err)
	}
	text := strings.TrimRight(string(b), "\n#") + "\n" + strings.Join(more, "\n") + "\n#\n"
	tmp := file + ".oakum"
	if err = os.WriteFile(tmp, []byte(strings.TrimLeft(text, "\n")), 0o644); err == nil {
		err = os.Rename(tmp, file)
	}
	if err != nil {
		return fmt.Errorf("mark what is installed for others: %w", err)
	}
	return nil
}
