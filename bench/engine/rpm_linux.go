package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/bench/engine/timing"
	"oakum.dev/patch"
	"oakum.dev/patch/host"
)

// rpmTool is what a scan of an RPM node is compared with.
type rpmTool struct {
	os       string // of the baseline
	listed   timing.Step
	upgrades []string // prints what can be upgraded
	read     func([]byte) []string
	target   float64
	second   float64 // of a scan when nothing has changed
	memory   float64
}

var dnfTool = rpmTool{
	os:       "REDHAT_ENTERPRISE_LINUX",
	listed:   timing.Step{Name: "dnf -C updateinfo list --security", Args: []string{"/usr/bin/dnf", "-q", "-C", "updateinfo", "list", "--security"}},
	upgrades: []string{"/usr/bin/dnf", "-q", "-C", "check-update"},
	read: func(b []byte) (out []string) {
		for line := range strings.Lines(string(b)) {
			if w := strings.Fields(line); len(w) == 3 && strings.Contains(w[0], ".") {
				out = append(out, w[0]+" "+w[1])
			}
		}
		return out
	},
	target: 0.5, second: 0.1, memory: 0.75,
}

var zypperTool = rpmTool{
	os:       "SUSE",
	listed:   timing.Step{Name: "zypper --no-refresh list-patches", Args: []string{"/usr/bin/zypper", "--no-refresh", "list-patches"}},
	upgrades: []string{"/usr/bin/zypper", "--no-refresh", "--xmlout", "list-updates"},
	read: func(b []byte) (out []string) {
		for _, m := range regexp.MustCompile(`<update kind="package" name="([^"]+)" edition="([^"]+)" arch="([^"]+)"`).FindAllSubmatch(b, -1) {
			out = append(out, fmt.Sprintf("%s.%s %s", m[1], m[3], m[2]))
		}
		return out
	},
	target: 1, second: 0.3, memory: 1.5,
}

// measureRPM compares scans of an RPM node with its own tool's list of advisories. Before that both must name the same updates.
func measureRPM(t *table, n *nodeExec, timer, oakum string) error {
	x := dnfTool
	if _, err := os.Stat(filepath.Join(n.root, "usr/bin/zypper")); err == nil {
		x = zypperTool
	}
	for from, to := range map[string]string{timer: "usr/local/bin/bench-timer", oakum: "usr/local/bin/oakum"} {
		if out, err := exec.Command("install", "-m755", from, filepath.Join(n.root, to)).CombinedOutput(); err != nil {
			return fmt.Errorf("install: %w: %s", err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(n.root, baselineFile), []byte(strings.ReplaceAll(everything, "DEBIAN", x.os)), 0o644); err != nil {
		return err
	}
	installed, updates, err := sameUpdates(n, &x)
	if err != nil {
		return err
	}
	fmt.Printf("node: %d packages installed, %d updates: oakum names the same packages and versions as %s\n", installed, updates, filepath.Base(x.upgrades[0]))
	got, err := n.time(pairs, cold, x.listed)
	if err != nil {
		return err
	}
	c, l := got[cold.Name], got[x.listed.Name]
	t.ratio("cold scan / "+x.listed.Name, c, l, x.target)
	t.line("  peak memory", median(c.RSS)/median(l.RSS), x.memory, "", fmt.Sprintf("%.1f MiB against %.1f MiB", median(c.RSS), median(l.RSS)))
	if got, err = n.time(pairs, warm, x.listed); err != nil {
		return err
	}
	t.ratio("second scan, nothing changed / "+x.listed.Name, got[warm.Name], got[x.listed.Name], x.second)
	return tenTimes(t, n, x.os)
}

// sameUpdates refuses to go on unless the scan misses exactly what the node's own tool would upgrade.
func sameUpdates(n *nodeExec, x *rpmTool) (installed, updates int, err error) {
	out, err := n.run(nil, "/bin/sh", "-c", strings.Join(scan, " ")+" 2>/dev/null || [ $? = 3 ]")
	if err != nil {
		return 0, 0, err
	}
	var res struct {
		Items []struct{ ID, State, AvailableVersion string }
	}
	if err := json.Unmarshal(out, &res); err != nil {
		return 0, 0, fmt.Errorf("result of the scan: %w", err)
	}
	var ours []string
	for _, it := range res.Items {
		if it.State == "Missing" {
			ours = append(ours, it.ID+" "+strings.TrimPrefix(it.AvailableVersion, "0:"))
		}
	}
	out, err = n.run(nil, "/bin/sh", "-c", strings.Join(x.upgrades, " ")+" 2>/dev/null || [ $? = 100 ]")
	if err != nil {
		return 0, 0, err
	}
	theirs := x.read(out)
	slices.Sort(ours)
	slices.Sort(theirs)
	if len(theirs) == 0 || !slices.Equal(ours, theirs) {
		return 0, 0, fmt.Errorf("the lists differ, so nothing is timed\noakum: %s\n%s: %s", strings.Join(ours, ", "), x.upgrades[0], strings.Join(theirs, ", "))
	}
	return len(res.Items), len(ours), nil
}

// tenTimes measures how a scan grows with the repository: one of ten times as many packages and notices, beside the same
// installed packages, in this process.
func tenTimes(t *table, n *nodeExec, system string) error {
	found, err := filepath.Glob(filepath.Join(n.root, map[bool]string{true: "var/cache/zypp/raw/*/repodata", false: "var/cache/dnf/*/repodata"}[system == "SUSE"]))
	if err != nil || len(found) == 0 {
		return fmt.Errorf("the node's repository is not there: %w", err)
	}
	// The one that the packages came from is left in the cache too, and is the smaller one.
	slices.SortFunc(found, func(a, b string) int { return cmp.Compare(primarySize(b), primarySize(a)) })
	var walls []float64
	for _, times := range []int{1, 10} {
		if times > 1 {
			if err := multiply(found[0], times); err != nil {
				return fmt.Errorf("make the repository larger: %w", err)
			}
		}
		cfg := host.Config{FS: os.DirFS(n.root), Root: n.root}
		var took []float64
		for range 5 {
			m, err := host.Open(cfg)
			if err != nil {
				return err
			}
			p, err := m.Platform(context.Background())
			if err != nil {
				return err
			}
			start := time.Now()
			if _, err := m.Inventory(context.Background(), patch.InventoryRequest{Platform: p, Now: start}); err != nil {
				return err
			}
			took = append(took, time.Since(start).Seconds())
		}
		walls = append(walls, median(took))
	}
	t.line("reading a repository ten times as large", walls[1]/walls[0], 10, "times", fmt.Sprintf("%.0f ms against %.0f ms", walls[1]*1000, walls[0]*1000))
	return nil
}

func primarySize(dir string) (n int64) {
	files, err := filepath.Glob(filepath.Join(dir, "*primary.xml*"))
	if err == nil && len(files) > 0 {
		if info, err := os.Stat(files[0]); err == nil {
			n = info.Size()
		}
	}
	return n
}

var (
	recordOf  = map[string]*regexp.Regexp{"primary": regexp.MustCompile(`(?s)<package type="rpm">.*</package>`), "updateinfo": regexp.MustCompile(`(?s)<update .*</update>`)}
	sizesOf   = regexp.MustCompile(`<(open-)?size>\d+</(open-)?size>`)
	numbersOf = regexp.MustCompile(`oakpkg(\d)`)
)

// multiply writes a repository's primary and updateinfo again, with further records under other names.
func multiply(dir string, times int) error {
	for kind, records := range recordOf {
		files, err := filepath.Glob(filepath.Join(dir, "*"+kind+".xml.gz"))
		if err != nil || len(files) != 1 {
			return fmt.Errorf("%s: %v, %w", kind, files, err)
		}
		f, err := os.ReadFile(files[0])
		if err != nil {
			return err
		}
		z, err := gzip.NewReader(bytes.NewReader(f))
		if err != nil {
			return err
		}
		text, err := io.ReadAll(z)
		if err != nil {
			return err
		}
		at := records.FindIndex(text)
		if at == nil {
			return fmt.Errorf("%s has no records", kind)
		}
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		w.Write(text[:at[0]]) // into memory
		for k := range times {
			w.Write(numbersOf.ReplaceAll(text[at[0]:at[1]], []byte(map[bool]string{true: "oakpkg$1", false: fmt.Sprintf("oakmore%d$1", k)}[k == 0])))
		}
		w.Write(text[at[1]:])
		if err := w.Close(); err != nil {
			return err
		}
		if err := os.WriteFile(files[0], out.Bytes(), 0o644); err != nil {
			return err
		}
	}
	index := filepath.Join(dir, "repomd.xml")
	b, err := os.ReadFile(index)
	if err != nil {
		return err
	}
	return os.WriteFile(index, sizesOf.ReplaceAll(b, nil), 0o644)
}

// measureJudging counts how many (patch, rule) decisions one core makes in a second.
func measureJudging(t *table) {
	p, _ := baseline.FindPredefined("AWS-RedHatDefaultPatchBaseline")
	node := baseline.Node{OS: baseline.RedHat, Product: "RedhatEnterpriseLinux9.4"}
	now := time.Now()
	var patches []baseline.Patch
	for i, class := range []string{"Security", "Bugfix", "Enhancement", "Security"} {
		patches = append(patches, baseline.Patch{
			Name: "package", Arch: "x86_64", Epoch: "0", Version: fmt.Sprint(i), Release: "1.el9", Classification: class, Severity: []string{"Low", "None", "None", "Critical"}[i], Security: true,
			HasNotice: true, Released: now.AddDate(0, 0, -i*5), AdvisoryIDs: []string{"RHSA-2026:0001"}, CVEs: []string{"CVE-2026-0001"},
		})
	}
	start, n := time.Now(), 0
	for time.Since(start) < time.Second {
		for range 10000 {
			p.Evaluate(node, &patches[n%len(patches)], now)
			n++
		}
	}
	rate := float64(n*len(p.ApprovalRules.PatchRules)) / time.Since(start).Seconds()
	t.line("a million (patch, rule) decisions, one core", 1e6/rate, 1, "s", fmt.Sprintf("%.1f million a second", rate/1e6))
}
