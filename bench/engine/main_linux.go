// Command engine measures the patch engine and the idle agent, each against what a user would use instead, whole
// processes in turn on one node. "make bench" runs it; scripts/bench makes the node. Before anything is timed the
// scan's list must be apt's.
//
//	engine -node ROOT -exec "deb-node exec NAME --" -timer FILE -oakum bin/oakum     scans
//	engine -nodes deb-node -name NAME                                                installs, on copies of the node
//	engine -rpm -node ROOT -exec ... -timer FILE -oakum bin/oakum                    scans of an RPM node
//	engine -judging                                                                  decisions a second
//	engine -agent -oakum bin/oakum                                                   the idle agent
//	engine -fleet 1000,10000 -oakum bin/oakum [-before FILE]                         a server with idle nodes, and a command to all
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"oakum.dev/bench/engine/timing"
)

// pairs is how often two programs run in turn.
const pairs = 9

func main() {
	timer := flag.String("timer", "", "`FILE` of the timer's program")
	node := flag.String("node", "", "root `DIR` of the node")
	shell := flag.String("exec", "", "`COMMAND` that runs its arguments in the node")
	oakum := flag.String("oakum", "", "the program that is measured")
	agentOnly := flag.Bool("agent", false, "measure the idle agent instead of scans")
	tool := flag.String("nodes", "", "`PROGRAM` that makes nodes: measure installs on copies of the node -name")
	name := flag.String("name", "", "")
	rpm := flag.Bool("rpm", false, "the node is an RPM node")
	judging := flag.Bool("judging", false, "measure the judging core alone")
	sizes := flag.String("fleet", "", "measure a server with as many nodes, several `NUMBERS` one after the other")
	before := flag.String("before", "", "`FILE` of an earlier version of the program, to compare with")
	slow := flag.Bool("slow", true, "compare with unattended-upgrade too, which takes a minute")
	flag.Parse()
	t := &table{}
	var err error
	switch {
	case *sizes != "":
		var list []int
		for _, text := range strings.Split(*sizes, ",") {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				fmt.Fprintf(os.Stderr, "bench: %q is no number of nodes\n", text)
				os.Exit(2)
			}
			list = append(list, n)
		}
		err = measureFleet(t, *oakum, *before, list)
	case *judging:
		measureJudging(t)
	case *rpm:
		err = measureRPM(t, &nodeExec{root: *node, shell: strings.Fields(*shell)}, *timer, *oakum)
	case *agentOnly:
		err = measureAgent(t, *oakum)
	case *tool != "":
		err = measureInstalls(t, *tool, *name)
	default:
		err = measureScans(t, &nodeExec{root: *node, shell: strings.Fields(*shell)}, *timer, *oakum, *slow)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: "+err.Error())
		os.Exit(1)
	}
	if t.missed > 0 {
		fmt.Fprintf(os.Stderr, "bench: %d of %d targets missed\n", t.missed, t.lines)
		os.Exit(1)
	}
}

// table prints one line per target.
type table struct{ lines, missed int }

func (t *table) line(what string, got, target float64, unit, detail string) {
	verdict := "OK"
	if got > target {
		verdict = "MISSED"
		t.missed++
	}
	t.lines++
	fmt.Printf("%-54s %8.3f %-5s target %6.3g  %-6s  %s\n", what, got, unit, target, verdict, detail)
}

// nodeExec runs programs in a node.
type nodeExec struct {
	root  string
	shell []string
}

func (n *nodeExec) run(stdin []byte, args ...string) ([]byte, error) {
	full := append(slices.Clone(n.shell), args...)
	cmd := exec.Command(full[0], full[1:]...)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return out, nil
}

// time runs every program of steps in turn, rounds times.
func (n *nodeExec) time(rounds int, steps ...timing.Step) (map[string]*timing.Series, error) {
	in, err := json.Marshal(timing.Job{Rounds: rounds, Steps: steps})
	if err != nil {
		return nil, err
	}
	out, err := n.run(in, "/usr/local/bin/bench-timer")
	if err != nil {
		return nil, err
	}
	var got map[string]*timing.Series
	return got, json.Unmarshal(out, &got)
}

const (
	baselineFile = "/root/everything.json"
	everything   = `{"Name":"everything","OperatingSystem":"DEBIAN","ApprovalRules":{"PatchRules":[
		{"PatchFilterGroup":{"PatchFilters":[]},"ApproveAfterDays":0,"EnableNonSecurity":true}]}}`
	cacheDir = "/var/lib/oakum/cache"
)

var (
	scan = []string{"/usr/local/bin/oakum", "scan", "--no-refresh", "--baseline", baselineFile, "--output", "json"}
	cold = timing.Step{Name: "oakum scan, cold", Args: scan, Remove: cacheDir, Codes: []int{0, 3}}
	warm = timing.Step{Name: "oakum scan, second", Args: scan, Codes: []int{0, 3}}
	list = timing.Step{Name: "apt list", Args: []string{"/usr/bin/apt", "list", "--upgradable"}}
	dist = timing.Step{Name: "apt-get -s dist-upgrade", Args: []string{"/usr/bin/apt-get", "-s", "dist-upgrade"}}
	unat = timing.Step{Name: "unattended-upgrade --dry-run", Args: []string{"/usr/bin/unattended-upgrade", "--dry-run"}, Codes: []int{0, 1}}
)

func measureScans(t *table, n *nodeExec, timer, oakum string, slow bool) error {
	for from, to := range map[string]string{timer: "usr/local/bin/bench-timer", oakum: "usr/local/bin/oakum"} {
		// As an installer puts it there: a file written in one piece is cached in large pieces, and all of each that a
		// program touches counts as resident.
		out, err := exec.Command("install", "-m755", from, filepath.Join(n.root, to)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("install: %w: %s", err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(n.root, baselineFile), []byte(everything), 0o644); err != nil {
		return err
	}
	installed, missing, err := sameList(n)
	if err != nil {
		return err
	}
	fmt.Printf("node: %d packages installed, %d upgradable: oakum names the same packages and versions as apt\n", installed, missing)

	got, err := n.time(pairs, cold, list)
	if err != nil {
		return err
	}
	c, l := got[cold.Name], got[list.Name]
	t.ratio("cold scan / apt list --upgradable", c, l, 0.5)
	t.line("  peak memory", median(c.RSS)/median(l.RSS), 0.75, "", fmt.Sprintf("%.1f MiB against %.1f MiB", median(c.RSS), median(l.RSS)))

	if got, err = n.time(pairs, warm, list); err != nil {
		return err
	}
	t.ratio("second scan, nothing changed / apt list --upgradable", got[warm.Name], got[list.Name], 0.1)

	if got, err = n.time(pairs, cold, dist); err != nil {
		return err
	}
	t.ratio("cold scan / apt-get -s dist-upgrade", got[cold.Name], got[dist.Name], 0.1)

	if slow {
		if got, err = n.time(1, cold, unat); err != nil {
			return err
		}
		t.ratio("cold scan / unattended-upgrade --dry-run (once)", got[cold.Name], got[unat.Name], 0.01)
		t.line("  processor time", median(got[cold.Name].CPU)/median(got[unat.Name].CPU), 0.1, "",
			fmt.Sprintf("%.2f s against %.1f s", median(got[cold.Name].CPU), median(got[unat.Name].CPU)))
	}

	if err := compressLists(n); err != nil {
		return err
	}
	if _, _, err := sameList(n); err != nil {
		return fmt.Errorf("lz4 lists: %w", err)
	}
	if got, err = n.time(pairs, cold, list); err != nil {
		return err
	}
	t.ratio("cold scan, lz4 lists / apt list --upgradable", got[cold.Name], got[list.Name], 0.8)
	return nil
}

// sameList refuses to go on unless the scan misses exactly what apt would upgrade, in the same versions.
func sameList(n *nodeExec) (installed, missing int, err error) {
	out, err := n.run(nil, "/bin/sh", "-c", strings.Join(scan, " ")+" 2>/dev/null || [ $? = 3 ]")
	if err != nil {
		return 0, 0, err
	}
	var res struct {
		Items []struct{ Name, Arch, State, AvailableVersion string }
	}
	if err := json.Unmarshal(out, &res); err != nil {
		return 0, 0, fmt.Errorf("result of the scan: %w", err)
	}
	ours := []string{}
	for _, it := range res.Items {
		if strings.EqualFold(it.State, "Missing") {
			ours = append(ours, it.Name+" "+it.Arch+" "+it.AvailableVersion)
		}
	}
	out, err = n.run(nil, "/bin/sh", "-c", strings.Join(list.Args, " ")+" 2>/dev/null")
	if err != nil {
		return 0, 0, err
	}
	theirs := []string{}
	for line := range strings.Lines(string(out)) { // name/suites version arch [upgradable from: version]
		w := strings.Fields(line)
		if name, _, ok := strings.Cut(line, "/"); ok && len(w) > 3 && w[3] == "[upgradable" {
			theirs = append(theirs, name+" "+w[2]+" "+w[1])
		}
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	if len(theirs) == 0 {
		return 0, 0, fmt.Errorf("nothing is upgradable on the node: there is nothing to measure")
	}
	if !slices.Equal(ours, theirs) {
		return 0, 0, fmt.Errorf("the lists differ, so nothing is timed\noakum: %s\napt:   %s", strings.Join(ours, ", "), strings.Join(theirs, ", "))
	}
	return len(res.Items), len(ours), nil
}

// compressLists makes the node an image-style one, and has apt read it once, so that its cache is warm.
func compressLists(n *nodeExec) error {
	lists, err := filepath.Glob(filepath.Join(n.root, "var/lib/apt/lists/*_Packages"))
	if err != nil {
		return err
	}
	for _, f := range lists {
		out, err := exec.Command("lz4", "-q", "-f", "--rm", f, f+".lz4").CombinedOutput()
		if err != nil {
			return fmt.Errorf("lz4: %w: %s", err, out)
		}
	}
	_, err = n.run(nil, "/usr/bin/apt-cache", "gencaches")
	return err
}

// ratio prints how a program's median compares with another's.
func (t *table) ratio(what string, a, b *timing.Series, target float64) {
	t.line(what, median(a.Wall)/median(b.Wall), target, "", spread(a.Wall)+" against "+spread(b.Wall))
}

func spread(v []float64) string {
	return fmt.Sprintf("%.0f/%.0f/%.0f ms", slices.Min(v)*1000, median(v)*1000, slices.Max(v)*1000)
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
