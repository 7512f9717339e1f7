//go:build linux

package acceptance

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/patch/journal"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// TestInstallKilled kills, at random moments of an Install on real nodes, the agent, the engine, the shells between them,
// apt-get, dpkg, maintainer scripts, or all at once. A checker that shares no code with the engine then looks at dpkg's
// database, the journals and the API: the database is in order, no step was started twice, everything has ended, and what
// was reported is what is there. Trap A1, Trap A2, Trap A10, Trap D2, Trap D3, Trap D4, Trap G2.
//
// proves
func TestInstallKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: takes a minute")
	}
	long, seed := soak(t, 25*time.Second)
	plain, booted := aptCast.nodes(t)
	killLanes(t, long, seed, lane{"booted", booted, &aptCast}, lane{"a", plain, &aptCast}, lane{"b", plain, &aptCast})
}

// TestInstallKilledRPM does the same to dnf, zypper, rpm and the scripts of their packages. Trap A1, Trap A10, Trap G2,
// Trap Y5, Trap Y6.
//
// proves
func TestInstallKilledRPM(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: takes a minute")
	}
	long, seed := soak(t, 20*time.Second)
	plain, booted := dnfCast.nodes(t)
	suse, _ := zypperCast.nodes(t)
	killLanes(t, long, seed, lane{"booted", booted, &dnfCast}, lane{"dnf", plain, &dnfCast}, lane{"zypper", suse, &zypperCast})
}

// lane is one node after another, each a copy of the same.
type lane struct {
	name string
	base *debNode
	cast *cast
}

// killLanes runs rounds in lanes beside each other: an install mostly waits.
func killLanes(t *testing.T, long time.Duration, seed uint64, lanes ...lane) {
	s := install(t, "sqlite")
	k := &killing{s: s, client: servertest.Attach(t, s.url, s.dir), tally: map[string]int{}, ends: map[string]int{}, end: time.Now().Add(long)}
	t.Run("lanes", func(t *testing.T) {
		for i, l := range lanes {
			t.Run(l.name, func(t *testing.T) {
				t.Parallel()
				for n := uint64(1); !t.Failed() && time.Now().Before(k.end); n++ {
					t.Run(fmt.Sprintf("round-%d", n), func(t *testing.T) { k.round(t, l, rand.New(rand.NewPCG(seed+uint64(i), n))) })
				}
			})
		}
	})
	t.Logf("OAKUM_SEED=%d: %d installs, %d kills: %v; ends: %v; slowest end after the last start of the agent %v", seed, k.rounds, k.kills, k.tally, k.ends, k.slowest)
}

// killing is what the lanes of TestInstallKilled share.
type killing struct {
	s      *installation
	client *servertest.Server
	end    time.Time

	clone   sync.Mutex
	mu      sync.Mutex
	rounds  int
	kills   int
	tally   map[string]int
	ends    map[string]int
	slowest time.Duration
}

func (k *killing) round(t *testing.T, where lane, r *rand.Rand) {
	n := where.base.cloneOf(t, &k.clone, where.name)
	breaks := []string{"", "", "", "postinst", "preinst"}[r.IntN(5)]
	if breaks != "" {
		writeFile(t, filepath.Join(n.root, "etc/oak-break-"+breaks), "")
	}
	var l *living
	if strings.HasPrefix(where.name, "booted") {
		l = &living{debNode: n}
		n.boot()
		l.find(t)
	} else {
		l = n.live(t)
	}
	const state = "/var/lib/oakum"
	a := &agent{n: n, state: state, id: l.registerIn(t, k.client, state)}
	before, err := where.cast.state(n)
	if err != nil {
		t.Fatal(err)
	}
	started, stop := k.agent(t, l, state, r.Uint64())
	defer stop()
	var sent ssm.SendCommandOutput
	in := &ssm.SendCommandInput{DocumentName: new("AWS-RunPatchBaseline"), InstanceIds: []string{a.id}, Parameters: map[string][]string{"Operation": {"Install"}, "RebootOption": {"NoReboot"}}}
	if err := k.client.Call(t.Context(), k.client.Admin, "ssm", "SendCommand", in, &sent); err != nil {
		t.Fatal(err)
	}
	command := *sent.Command.CommandId
	over := func() bool { return terminal(invocation(t, k.client, command, a.id)) }
	done := k.massacre(t, l, where.cast.victims, r, over)
	inv := invocation(t, k.client, command, a.id)
	for !terminal(inv) && time.Since(started()) < 125*time.Second {
		time.Sleep(100 * time.Millisecond) // another process
		inv = invocation(t, k.client, command, a.id)
	}
	took := time.Since(started())
	// An engine whose shell was killed may still be at its last words; the agent is the only process to stay.
	eventually(t, "the end of the engine and all that it started", time.Minute, func() bool {
		return !slices.ContainsFunc(l.processes(), isWork)
	})
	c := &killCheck{t: t, k: k, a: a, n: n, cast: where.cast, before: before, breaks: breaks, done: done, command: command, inv: inv, sentAt: *sent.Command.RequestedDateTime}
	c.check()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rounds++
	k.ends[codec.Value(inv.Status)+c.reason()]++
	k.slowest = max(k.slowest, took)
	t.Logf("%v, breaks %q: %s after %v, run %s", done, breaks, codec.Value(inv.StatusDetails), took.Round(time.Millisecond), c.outcome)
}

// agent keeps the node's agent running, by hand or as a service. started is when it was started last, at the latest.
func (k *killing) agent(t *testing.T, l *living, state string, seed uint64) (started func() time.Time, stop func()) {
	if l.holder == nil {
		if out, err := l.command("/usr/local/bin/oakum", "agent", "install").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		last := time.Now()
		seen := 0
		started = func() time.Time {
			for _, p := range l.processes() {
				if isAgent(p) && p.pid != seen {
					seen, last = p.pid, time.Now()
				}
			}
			return last
		}
		return started, func() {
			if t.Failed() {
				out, _ := l.command("journalctl", "-u", "oakum-agent", "--no-pager").CombinedOutput() // for the reader only
				t.Logf("the agent's log:\n%.6000s", out)
			}
		}
	}
	pr := rand.New(rand.NewPCG(seed, 0))
	kept := l.keepAgent(state, func() time.Duration { return time.Duration(pr.IntN(900)) * time.Millisecond })
	return kept.started, func() {
		close(kept.stop)
		l.end()
		<-kept.ended
		if t.Failed() {
			t.Logf("the agent's log:\n%.6000s", kept.log)
		}
	}
}

func terminal(v ssm.GetCommandInvocationOutput) bool {
	return !slices.Contains([]string{"", "Pending", "InProgress", "Delayed", "Cancelling"}, codec.Value(v.Status))
}

func invocation(t *testing.T, client *servertest.Server, command, node string) (out ssm.GetCommandInvocationOutput) {
	in := &ssm.GetCommandInvocationInput{CommandId: &command, InstanceId: &node, PluginName: new("PatchLinux")}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := client.Call(ctx, client.Admin, "ssm", "GetCommandInvocation", in, &out); err != nil && !strings.Contains(err.Error(), "InvocationDoesNotExist") {
		t.Fatal(err)
	}
	return out
}

// massacre kills one to three times and says what it killed.
func (k *killing) massacre(t *testing.T, l *living, victims []victim, r *rand.Rand, over func() bool) (done []string) {
	begun := time.Now().Add(time.Minute)
	for !slices.ContainsFunc(l.processes(), isEngine) {
		if over() || time.Now().After(begun) {
			t.Fatal("the engine was never started")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if r.IntN(10) == 0 { // whatever it is that kills the engine, it does so again and again
		for n := 0; n < 6 && !over(); {
			all := l.processes()
			if i := slices.IndexFunc(all, isEngine); i >= 0 {
				time.Sleep(time.Duration(r.IntN(1200)) * time.Millisecond)
				if syscall.Kill(all[i].pid, syscall.SIGKILL) == nil {
					n++
					done = append(done, "engine again")
					k.count("engine again")
				}
			}
			time.Sleep(10 * time.Millisecond) // the agent starts it again
		}
		return done
	}
	for range 1 + r.IntN(3) {
		v := victims[r.IntN(len(victims))]
		time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond) // the moment of the crash
		if !v.quick {
			time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
		}
		extra := time.Duration(r.IntN(40)) * time.Millisecond
		killed := ""
		for try, end := 0, time.Now().Add(4*time.Second); killed == "" && time.Now().Before(end); try++ {
			all := l.processes()
			i := slices.IndexFunc(all, func(p process) bool { return v.is(p, all) })
			switch {
			case i < 0:
				if try%50 == 49 && over() {
					return done
				}
				time.Sleep(2 * time.Millisecond)
				continue
			case v.quick:
				time.Sleep(extra) // not only its first moment
			}
			if strings.HasPrefix(v.name, "everything") {
				killed = v.name
				l.cutPower(t)
			} else if v.name == "agent" && l.holder == nil && r.IntN(2) == 0 {
				killed = "the agent's unit"
				_ = l.command("systemctl", "kill", "--signal=KILL", "oakum-agent.service").Run() // it may be between two starts
			} else if syscall.Kill(all[i].pid, syscall.SIGKILL) == nil {
				killed = v.name
			}
		}
		if killed == "" {
			continue
		}
		done = append(done, killed)
		k.count(killed)
	}
	return done
}

func (k *killing) count(victim string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kills++
	k.tally[victim]++
}

// killCheck compares what was reported about a round with what is there.
type killCheck struct {
	t       *testing.T
	k       *killing
	a       *agent
	n       *debNode
	cast    *cast
	before  packageState
	breaks  string   // kind of the script that fails on this node
	done    []string // what was killed
	command string
	inv     ssm.GetCommandInvocationOutput
	sentAt  codec.Time
	outcome string
}

// reason is the code in the first line of a failed step's stderr.
func (c *killCheck) reason() string {
	line, _, _ := strings.Cut(codec.Value(c.inv.StandardErrorContent), "\n")
	if rest, ok := strings.CutPrefix(line, "OAKUM "); ok {
		code, _, _ := strings.Cut(rest, ":")
		return " " + code
	}
	return ""
}

func (c *killCheck) check() {
	t := c.t
	after, err := c.cast.state(c.n)
	if err != nil {
		t.Error(err)
		return
	}
	if !terminal(c.inv) {
		t.Errorf("the invocation is %s 120 s after the agent's last start", codec.Value(c.inv.StatusDetails))
	}
	c.database(after)
	c.journal()
	run := c.run(after)
	c.reported(after, run)
	if t.Failed() {
		t.Logf("stdout:\n%.3000s\nstderr:\n%.2000s", codec.Value(c.inv.StandardOutputContent), codec.Value(c.inv.StandardErrorContent))
		if run != nil {
			b, _ := os.ReadFile(filepath.Join(c.n.root, "var/lib/oakum/runs", run.ID, "log")) // for the reader only
			t.Logf("the run: %+v\nits log:\n%.12000s", *run, b)
		}
	}
}

// database: nothing is left half way but what fails on purpose, nothing else than planned has changed, and marks stay.
func (c *killCheck) database(after packageState) {
	t := c.t
	for name, v := range after.packages {
		if strings.Contains(v, " ") && !c.mayBeHalf(name) && c.before.packages[name] != v {
			t.Errorf("%s is left as %q", name, v)
		}
	}
	for _, x := range after.complaints {
		if !c.mayBeHalf(x.name) {
			t.Error(x.text)
		}
	}
	for name, d := range differences(c.before.packages, after.packages) {
		version, _, _ := strings.Cut(d[1], " ")
		if c.cast.targets[name] != version {
			t.Errorf("%s went from %q to %q, which no plan asked for", name, d[0], d[1])
		}
		want := c.before.auto[name] || d[0] == ""
		if after.auto[name] != want {
			t.Errorf("%s is marked automatic: %v, before the upgrade: %v", name, after.auto[name], want)
		}
	}
	if b, err := os.ReadFile(filepath.Join(c.n.root, "etc/oakconf.conf")); err != nil || string(b) != "changed on the node\n" {
		t.Errorf("the changed configuration file holds %q, %v", b, err)
	}
	if c.cast.also != nil {
		c.cast.also(c, after)
	}
}

// mayBeHalf reports whether a package may be left half way: where that is what comes of its failing script.
func (c *killCheck) mayBeHalf(name string) bool {
	return c.cast.half && c.breaks == "postinst" && name == "oakbroken"
}

// complete reports whether a run that succeeds has to have installed everything.
func (c *killCheck) complete() bool {
	return c.breaks == "" || c.breaks == "postinst" && !c.cast.half
}

// journal: the agent started no step twice, and the command is over.
func (c *killCheck) journal() {
	t := c.t
	records, err := journal.Read(filepath.Join(c.n.root, "var/lib/oakum/commands", c.command, "journal"))
	if err != nil {
		t.Error(err)
		return
	}
	starts := map[string]int{}
	var kinds []string
	for _, b := range records {
		var r struct{ Kind, Step string }
		if err := json.Unmarshal(b, &r); err != nil {
			t.Error(err)
		}
		kinds = append(kinds, r.Kind)
		if r.Kind == "step-starting" {
			starts[r.Step]++
		}
	}
	for step, n := range starts {
		if n > 1 {
			t.Errorf("step %s was started %d times", step, n)
		}
	}
	if !slices.Contains(kinds, "done") {
		t.Errorf("the command's journal has no end: %v", kinds)
	}
}

// run: there is one, it has ended, and what it says that it changed is what has changed.
func (c *killCheck) run(after packageState) *localRun {
	t := c.t
	runs, err := c.n.runsRecorded()
	if err != nil {
		t.Errorf("oakum runs --local: %v", err)
		return nil
	}
	if len(runs) == 0 { // it was killed before the first record
		if d := differences(c.before.packages, after.packages); len(d) > 0 {
			t.Errorf("no run is recorded, and changed: %v", d)
		}
		c.outcome = "none"
		return nil
	}
	if len(runs) > 1 {
		t.Errorf("%d runs of one command: the plan was begun anew: %+v", len(runs), runs)
	}
	r := runs[0]
	c.outcome = fmt.Sprintf("%s, %d resumes, %d transactions, %s", r.Outcome, r.Resumes, r.Transactions, r.Text)
	if r.Phase != "ended" || r.Outcome == "" {
		t.Errorf("the run is in phase %s", r.Phase)
	}
	changed := map[string]string{}
	for _, x := range r.Changed {
		changed[x.Name] = x.New
		if x.Old != c.before.packages[x.Name] {
			t.Errorf("the run says that %s was %q before, it was %q", x.Name, x.Old, c.before.packages[x.Name])
		}
	}
	really := map[string]string{}
	for name, d := range differences(c.before.packages, after.packages) {
		if !strings.Contains(d[1], " ") {
			really[name] = d[1]
		}
	}
	if d := differences(really, changed); len(d) > 0 {
		t.Errorf("changed, in truth and by the run's record: %v", d)
	}
	planned := map[string]bool{}
	for _, x := range r.Planned {
		planned[x.Name] = true
	}
	for name := range really {
		if !planned[name] {
			t.Errorf("%s changed without being planned", name)
		}
	}
	if c.complete() && r.Outcome == "Success" {
		if d := differences(c.cast.targets, really); len(d) > 0 {
			t.Errorf("a run that succeeded left out: %v", d)
		}
	}
	return &r
}

// reported: what the server says of each package is what the node has. A run that could not report leaves that to the next scan.
func (c *killCheck) reported(after packageState, run *localRun) {
	t, ctx := c.t, c.t.Context()
	call := func(op string, in any, out codec.Decodable) bool {
		if err := c.k.client.Call(ctx, c.k.client.Admin, "ssm", op, in, out); err != nil {
			t.Errorf("%s: %v", op, err)
			return false
		}
		return true
	}
	state := func() *ssm.InstancePatchState {
		var out ssm.DescribeInstancePatchStatesOutput
		if !call("DescribeInstancePatchStates", &ssm.DescribeInstancePatchStatesInput{InstanceIds: []string{c.a.id}}, &out) || len(out.InstancePatchStates) == 0 {
			return nil
		}
		return &out.InstancePatchStates[0]
	}
	status := codec.Value(c.inv.Status)
	st := state()
	if status == "Success" && st == nil {
		t.Error("the invocation is a success, and there is no report")
		return
	}
	if st == nil {
		if c.reason() == "" {
			t.Errorf("a run without a report gives no reason: %q", codec.Value(c.inv.StandardErrorContent))
		}
		c.scan()
		if st = state(); st == nil {
			t.Error("a scan after the run is not reported")
			return
		}
	}
	var patches []ssm.PatchComplianceData
	for in := (&ssm.DescribeInstancePatchesInput{InstanceId: &c.a.id, MaxResults: new(int64(100))}); ; {
		var page ssm.DescribeInstancePatchesOutput
		if !call("DescribeInstancePatches", in, &page) {
			return
		}
		patches = append(patches, page.Patches...)
		if in.NextToken = page.NextToken; in.NextToken == nil {
			break
		}
	}
	count := map[string]int64{}
	seen := map[string]string{}
	for _, p := range patches {
		name, _, _ := strings.Cut(*p.KBId, ".")
		count[*p.State]++
		if _, ours := c.cast.targets[name]; !ours {
			continue
		}
		_, version, _ := strings.Cut(*p.Title, ":")
		now := after.packages[name]
		seen[name] = *p.State
		switch *p.State {
		case "Installed", "InstalledPendingReboot":
			if now != version || now != c.cast.targets[name] {
				t.Errorf("%s is reported %s at %s, the node has %q", name, *p.State, version, now)
			}
			if *p.State == "Installed" {
				t.Errorf("%s was installed without a reboot and is reported Installed, not InstalledPendingReboot", name)
			}
		case "Failed":
			if now == c.cast.targets[name] {
				t.Errorf("%s is reported Failed, the node has %q", name, now)
			}
		case "Missing":
			if now == c.cast.targets[name] {
				t.Errorf("%s is reported Missing, the node has %q", name, now)
			}
			if status == "Success" {
				t.Errorf("%s is Missing after a success", name)
			}
		}
	}
	for name, d := range differences(c.before.packages, after.packages) {
		if s := seen[name]; s == "" && d[1] == c.cast.targets[name] && name != "oaknew" {
			t.Errorf("%s was changed to %q and is not in the report", name, d[1])
		}
	}
	for s, n := range map[string]*int64{
		"Failed": st.FailedCount, "InstalledPendingReboot": st.InstalledPendingRebootCount, "Installed": st.InstalledCount, "InstalledOther": st.InstalledOtherCount,
	} {
		if count[s] != codec.Value(n) {
			t.Errorf("%d patches are %s, the summary says %d", count[s], s, codec.Value(n))
		}
	}
	// An engine that was killed at its last start after its run had ended leaves a failed step that says just that.
	spoken := strings.Contains(codec.Value(c.inv.StandardErrorContent), "had ended by itself: Success")
	if run != nil && status == "Success" && run.Outcome != "Success" || run != nil && status == "Failed" && run.Outcome == "Success" && !spoken {
		t.Errorf("the invocation is %s, the run %s (%s)", status, run.Outcome, run.Text)
	}
	if status == "Failed" && c.reason() == "" {
		t.Errorf("a failed step without a reason: %q", cmp.Or(codec.Value(c.inv.StandardErrorContent), "(nothing)"))
	}
}

// scan lets the node report what is there now.
func (c *killCheck) scan() {
	in := &ssm.SendCommandInput{DocumentName: new("AWS-RunPatchBaseline"), InstanceIds: []string{c.a.id}, Parameters: map[string][]string{"Operation": {"Scan"}}}
	var sent ssm.SendCommandOutput
	if err := c.k.client.Call(c.t.Context(), c.k.client.Admin, "ssm", "SendCommand", in, &sent); err != nil {
		c.t.Error(err)
		return
	}
	eventually(c.t, "the end of a scan", 2*time.Minute, func() bool { return terminal(invocation(c.t, c.k.client, *sent.Command.CommandId, c.a.id)) })
}
