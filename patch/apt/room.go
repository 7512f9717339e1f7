package apt

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"oakum.dev/patch"
	"oakum.dev/patch/system"
)

// measure fills in how large the package files of a plan are, and how much more they take on the disk.
func (m *Manager) measure(ctx context.Context, w patch.Wish, p *patch.Plan) error {
	installed, err := m.installedSizes(ctx, p)
	if err != nil {
		return err
	}
	args := []string{"--no-all-versions"}
	if w.Sources != nil {
		own, err := m.ownOptions(w.Sources)
		if err != nil {
			return err
		}
		args = append(args, own...)
	}
	args = append(args, "show")
	bare := len(args)
	for _, c := range p.Changes {
		if c.New != "" {
			args = append(args, c.Name+":"+m.archOf(c.Arch)+"="+c.New)
		}
	}
	sizes := map[string][2]int64{} // name version to bytes of the file and KiB on the disk
	if len(args) > bare {
		conf, done, err := m.pointAt(m.node.native, m.node.archs)
		if err != nil {
			return err
		}
		defer done()
		out, err := m.cfg.Exec.Run(ctx, patch.Command{
			Path: "/usr/bin/apt-cache", Args: args, Env: append(patch.BaseEnv(), conf...), Timeout: 2 * time.Minute, MaxOutput: 32 << 20,
		})
		if err != nil {
			return fmt.Errorf("run apt-cache: %w", err)
		}
		for stanza := range bytes.SplitSeq(out.Stdout, []byte("\n\n")) {
			f := fields(stanza, "Package", "Version", "Size", "Installed-Size")
			size, _ := strconv.ParseInt(f[2], 10, 64) // what is not said counts as nothing
			disk, _ := strconv.ParseInt(f[3], 10, 64)
			sizes[f[0]+" "+f[1]] = [2]int64{size, disk}
		}
	}
	for i := range p.Changes {
		c := &p.Changes[i]
		s, known := sizes[c.Name+" "+c.New]
		if !known { // apt-cache shows no version that only a file has, or that left the archive
			s[0] = m.sizeOf(c)
		}
		c.Bytes, c.Grows = s[0], (s[1]-installed[c.Key()])<<10
	}
	return nil
}

// sizeOf is what the lists say about the size of a change's package file.
func (m *Manager) sizeOf(c *patch.Change) int64 {
	if p := m.node.pkgs[key(c.Name, m.archOf(c.Arch))]; p != nil {
		for _, v := range p.versions {
			if v.Version == c.New {
				return v.Size
			}
		}
	}
	return 0
}

// installedSizes are the KiB that dpkg gives for the packages of a plan.
func (m *Manager) installedSizes(ctx context.Context, p *patch.Plan) (map[string]int64, error) {
	args := []string{"--admindir=" + strings.TrimSuffix(m.cfg.Root, "/") + "/var/lib/dpkg", "-W", "-f", `${Package}.${Architecture} ${Installed-Size}\n`}
	n := len(args)
	for _, c := range p.Changes {
		if c.Old != "" {
			args = append(args, c.Name+":"+cmp.Or(c.Arch, m.native())) // unlike apt, dpkg knows all as an architecture
		}
	}
	sizes := map[string]int64{}
	if len(args) == n {
		return sizes, nil
	}
	out, err := m.cfg.Exec.Run(ctx, patch.Command{Path: "/usr/bin/dpkg-query", Args: args, Env: patch.BaseEnv(), Timeout: time.Minute, MaxOutput: 8 << 20})
	if err != nil {
		return nil, fmt.Errorf("run dpkg-query: %w", err)
	}
	for line := range strings.Lines(string(out.Stdout)) {
		name, kib, _ := strings.Cut(strings.TrimSpace(line), " ")
		sizes[name], _ = strconv.ParseInt(kib, 10, 64) // old packages do not say
	}
	return sizes, nil
}

// fields picks fields out of a stanza.
func fields(stanza []byte, names ...string) []string {
	out := make([]string, len(names))
	for line := range bytes.Lines(stanza) {
		k, v, ok := strings.Cut(strings.TrimSpace(string(line)), ": ")
		for i, n := range names {
			if ok && k == n && out[i] == "" {
				out[i] = v
			}
		}
	}
	return out
}

// Room compares what the plan needs with what is free: the package files where they are downloaded to, the growth where
// they are installed, and the next kernel in /boot.
func (m *Manager) Room(ctx context.Context, w patch.Wish, p *patch.Plan) error {
	if err := m.measure(ctx, w, p); err != nil {
		return err
	}
	var download, grows int64
	kernel := false
	for _, c := range p.Changes {
		download += c.Bytes
		grows += c.Grows
		_, _, _, isKernel := kernelOf(c.Name)
		kernel = kernel || isKernel
	}
	places := []system.Place{
		{Dir: m.node.conf.path("Dir::Cache::archives", "archives"), Bytes: download}, {Dir: "usr", Bytes: max(grows, 0)}, {Dir: "var/lib/dpkg"}, {Dir: "etc"},
	}
	if kernel {
		places = append(places, system.Place{Dir: "boot", Bytes: system.BootFiles(m.cfg.FS), Tight: true})
	}
	return system.Room(m.cfg.Root, places)
}
