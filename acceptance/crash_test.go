//go:build linux

package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/internal/audit"
	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// soak says how long the crash runs take in all, and with which seed.
func soak(t *testing.T, usual time.Duration) (time.Duration, uint64) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("OAKUM_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	if v := os.Getenv("OAKUM_SOAK_SECONDS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		usual = time.Duration(n) * time.Second
	}
	t.Logf("OAKUM_SEED=%d", seed)
	return usual, seed
}

// history is what clients and nodes saw: the only evidence that the checks go by, with the public API.
type history struct {
	mu        sync.Mutex
	accepted  map[string]string    // command id: its marker, answered with 200
	received  map[string]time.Time // message id: an acknowledgement or a reply was answered with 200
	reported  map[string]*compliance.Result
	baselines map[string]string // client token: baseline id
	wrong     []string
	messages  int
}

func (h *history) fault(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wrong = append(h.wrong, fmt.Sprintf(format, args...))
}

func (h *history) acknowledged(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.received[id] = time.Now()
}

// persist repeats a call until the server has answered it, and reports whether it did.
func persist(ctx context.Context, h *history, what string, call func() error) bool {
	for ctx.Err() == nil {
		err := call()
		switch e := awserr.From(err); {
		case err == nil:
			return true
		case awserr.Code(err) != "" && e.Status < 500 && e.Code != "ThrottlingException":
			h.fault("%s: %v", what, err)
			return false
		}
		time.Sleep(20 * time.Millisecond) // the server is being restarted
	}
	return false
}

// live is a node that does what it is sent: receive, acknowledge, run, reply, report.
func live(ctx context.Context, h *history, n *servertest.Node, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	var seq int64
	for ctx.Err() == nil {
		asked := time.Now()
		list, err := n.Poll(ctx)
		if err != nil {
			time.Sleep(20 * time.Millisecond) // the server is being restarted
			continue
		}
		for _, m := range list {
			id := *m.MessageId
			h.mu.Lock()
			h.messages++
			at, again := h.received[id]
			h.mu.Unlock()
			if again && at.Before(asked) {
				h.fault("%s was delivered again, %v after it was acknowledged", id, asked.Sub(at))
			}
			if !strings.HasSuffix(id, "."+n.ID) {
				h.fault("node %s got the message %s", n.ID, id)
			}
			var payload struct{ CommandId string }
			if err := json.Unmarshal([]byte(*m.Payload), &payload); err != nil || !strings.Contains(id, payload.CommandId) {
				h.fault("message %s has the payload %s", id, *m.Payload)
			}
			if r.IntN(2) == 0 { // as the AWS agent does: a reply before the acknowledgement
				if persist(ctx, h, "first reply", func() error { return n.Reply(ctx, id, "InProgress", nil) }) {
					h.acknowledged(id)
				}
			}
			if persist(ctx, h, "acknowledge", func() error { return n.Ack(ctx, id) }) {
				h.acknowledged(id)
			}
			time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond) // the script runs
			for range 1 + r.IntN(2) {
				persist(ctx, h, "reply", func() error { return n.Finish(ctx, id, "Success", 0, "done") })
			}
			if r.IntN(3) > 0 {
				continue
			}
			seq++
			res := report(time.Now(), seq, r.IntN(30))
			put := func() error { return n.Call(ctx, "ssm", "PutInventory", n.Inventory(res), nil) }
			if r.IntN(2) == 0 {
				put = func() error { return n.PutResult(ctx, res) }
			}
			if persist(ctx, h, "report", put) {
				h.mu.Lock()
				h.reported[n.ID] = res
				h.mu.Unlock()
			}
		}
	}
}

func report(at time.Time, seq int64, missing int) *compliance.Result {
	r := &compliance.Result{Header: compliance.Header{
		OperatingSystem: baseline.Debian, Product: "Debian12", BaselineID: "pb-0123456789abcdef0", SnapshotID: "00000000-0000-4000-8000-000000000001", Operation: "Scan",
		StartedAt: at.UTC().Truncate(time.Second), EndedAt: at.UTC().Truncate(time.Second).Add(time.Duration(seq) * time.Second), ScanSeq: seq,
	}}
	for i := range missing + 20 {
		st := compliance.Installed
		if i < missing {
			st = compliance.Missing
		}
		name := fmt.Sprint("package", i)
		r.Items = append(r.Items, compliance.Item{ID: name + ".amd64", Name: name, Arch: "amd64", Title: name + ".amd64:1", State: st, Level: baseline.High, Classification: "Security"})
	}
	r.Finish(0)
	return r
}

// load sends commands and creates baselines until ctx ends. What is answered with 200 is kept in the history.
func load(ctx context.Context, h *history, s *servertest.Server, nodes []string, marks string, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	for k := 0; ctx.Err() == nil; k++ {
		marker := fmt.Sprintf("m%d-%d", seed%100000, k)
		in := &ssm.SendCommandInput{
			DocumentName: new("AWS-RunShellScript"), Parameters: map[string][]string{"commands": {"echo " + marker + " >>" + marks}}, Comment: &marker,
			MaxErrors: new("100%"), MaxConcurrency: new([]string{"1", "2", "50%", "100%"}[r.IntN(4)]),
		}
		if r.IntN(3) == 0 {
			in.Targets = []ssm.Target{{Key: new("tag:Env"), Values: []string{"crash"}}}
		} else {
			in.InstanceIds = slices.Clone(nodes)
			r.Shuffle(len(nodes), func(i, j int) { in.InstanceIds[i], in.InstanceIds[j] = in.InstanceIds[j], in.InstanceIds[i] })
			in.InstanceIds = in.InstanceIds[:1+r.IntN(len(nodes))]
		}
		var out ssm.SendCommandOutput
		if err := s.Call(ctx, s.Admin, "ssm", "SendCommand", in, &out); err == nil {
			h.mu.Lock()
			h.accepted[*out.Command.CommandId] = marker
			h.mu.Unlock()
		} else if e := awserr.From(err); awserr.Code(err) != "" && e.Status < 500 && e.Code != "ThrottlingException" {
			h.fault("SendCommand: %v", err)
		}
		if h.count() < 40 && r.IntN(10) == 0 {
			create := &ssm.CreatePatchBaselineInput{Name: new(strings.ReplaceAll(marker, "-", "_")), ClientToken: &marker}
			var made ssm.CreatePatchBaselineOutput
			for range 1 + r.IntN(2) { // now and then again, as an SDK does that lost the answer
				if persist(ctx, h, "CreatePatchBaseline", func() error { return s.Call(ctx, s.Admin, "ssm", "CreatePatchBaseline", create, &made) }) {
					h.mu.Lock()
					if old := h.baselines[marker]; old != "" && old != *made.BaselineId {
						h.wrong = append(h.wrong, fmt.Sprintf("the token %s made %s and %s", marker, old, *made.BaselineId))
					}
					h.baselines[marker] = *made.BaselineId
					h.mu.Unlock()
				}
			}
		}
		time.Sleep(time.Duration(20+r.IntN(80)) * time.Millisecond) // a busy operator, not a benchmark
	}
}

func (h *history) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.baselines)
}

// localAgent runs this build's agent on this machine and starts it again whenever it is killed.
type localAgent struct {
	id, state string
	mu        sync.Mutex
	cmd       *exec.Cmd
	kills     atomic.Int64
}

func (a *localAgent) keep(ctx context.Context, t *testing.T) {
	for ctx.Err() == nil {
		cmd := exec.Command(binary(t), "agent", "run", "--state-dir", a.state)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		a.mu.Lock()
		if err := cmd.Start(); err != nil {
			a.mu.Unlock()
			t.Error(err)
			return
		}
		a.cmd = cmd
		a.mu.Unlock()
		_ = cmd.Wait() // it is killed
	}
}

func (a *localAgent) kill() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cmd != nil {
		_ = a.cmd.Process.Kill() // it may have just ended
	}
}

// TestServerKilled kills the server with SIGKILL at random moments under load and starts it again: nothing that was
// answered with 200 is lost, nothing is delivered again after an acknowledgement, and every invocation ends. One
// node is this build's own agent, which is killed too now and then; it never runs a script twice.
//
// proves
func TestServerKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: takes a minute")
	}
	total, seed := soak(t, 30*time.Second)
	for i, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) { serverKilled(t, install(t, engine), total/2, seed+uint64(i)) })
	}
}

func serverKilled(t *testing.T, s *installation, long time.Duration, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0))
	client := servertest.Attach(t, s.url, s.dir)
	h := &history{accepted: map[string]string{}, received: map[string]time.Time{}, reported: map[string]*compliance.Result{}, baselines: map[string]string{}}
	tag := ssm.Tag{Key: new("Env"), Value: new("crash")}
	fakes := client.Nodes(5, tag)
	var ids []string
	for _, n := range fakes {
		ids = append(ids, n.ID)
	}
	dir := t.TempDir()
	real := &localAgent{state: filepath.Join(dir, "agent")}
	actID, code := client.Activate(1, tag)
	out, err := exec.Command(binary(t), "agent", "register", "--endpoint", s.url, "--activation-id", actID, "--activation-code", code, "--state-dir", real.state).CombinedOutput()
	if err != nil {
		t.Fatalf("register: %v\n%s", err, out)
	}
	for _, w := range strings.Fields(string(out)) {
		if w = strings.Trim(w, ".,:;"); strings.HasPrefix(w, "mi-") {
			real.id = w
		}
	}
	ids = append(ids, real.id)
	marks := filepath.Join(dir, "marks")

	working, stopWork := context.WithCancel(t.Context())
	living, stopLife := context.WithCancel(t.Context())
	var operators, nodes sync.WaitGroup
	defer nodes.Wait()
	defer real.kill()
	defer stopLife()
	defer operators.Wait()
	defer stopWork()
	for i, n := range fakes {
		nodes.Go(func() { live(living, h, n, seed+uint64(i)) })
	}
	nodes.Go(func() { real.keep(living, t) })
	for i := range 2 {
		operators.Go(func() { load(working, h, client, ids, marks, seed*10+uint64(i)) })
	}

	kills, slowest := 0, time.Duration(0)
	for end := time.Now().Add(long); time.Now().Before(end); kills++ {
		time.Sleep(time.Duration(r.IntN(700)) * time.Millisecond) // the moment of the crash
		if r.IntN(6) == 0 {
			real.kill()
			real.kills.Add(1)
		}
		s.kill()
		begin := time.Now()
		s.start(client.URL)
		slowest = max(slowest, time.Since(begin))
	}
	if slowest > 5*time.Second {
		t.Errorf("a start after a crash took %v", slowest)
	}
	stopWork()
	operators.Wait()
	s.check(t, h, client, real, marks)
	stopLife()
	real.kill()
	t.Logf("%d kills of the server, %d of the agent; %d commands accepted, %d messages; slowest start %v", kills, real.kills.Load(), len(h.accepted), h.messages, slowest)
}

// check waits for the end of everything and compares the history with what the API says.
func (s *installation) check(t *testing.T, h *history, client *servertest.Server, real *localAgent, marks string) {
	ctx := t.Context()
	list := func() (all []ssm.Command) {
		in := &ssm.ListCommandsInput{MaxResults: new(int64(50))}
		for {
			var out ssm.ListCommandsOutput
			if err := client.Call(ctx, client.Admin, "ssm", "ListCommands", in, &out); err != nil {
				t.Fatal(err)
			}
			all = append(all, out.Commands...)
			if in.NextToken = out.NextToken; in.NextToken == nil {
				return all
			}
		}
	}
	var commands []ssm.Command
	open := func() (ids []string) {
		for _, c := range commands {
			if *c.CompletedCount != *c.TargetCount || slices.Contains([]string{"Pending", "InProgress", "Cancelling"}, *c.Status) {
				ids = append(ids, *c.CommandId)
			}
		}
		return ids
	}
	end := time.Now().Add(2 * time.Minute)
	for commands = list(); len(open()) > 0 && time.Now().Before(end); commands = list() {
		time.Sleep(time.Second) // agents come back after their back-off
	}
	if left := open(); len(left) > 0 {
		t.Errorf("%d commands do not end, such as %s", len(left), left[0])
	}
	known := map[string]bool{}
	for _, c := range commands {
		known[*c.CommandId] = true
	}
	for id := range h.accepted {
		if !known[id] {
			t.Errorf("the accepted command %s is lost", id)
		}
	}
	ran := map[string]int{}
	text, _ := os.ReadFile(marks) // there is none if the agent got nothing
	for _, m := range strings.Fields(string(text)) {
		ran[m]++
		if ran[m] == 2 {
			t.Errorf("the agent ran %s twice", m)
		}
	}
	for _, c := range commands {
		in := &ssm.ListCommandInvocationsInput{CommandId: c.CommandId}
		var out ssm.ListCommandInvocationsOutput
		if err := client.Call(ctx, client.Admin, "ssm", "ListCommandInvocations", in, &out); err != nil {
			t.Fatal(err)
		}
		for _, v := range out.CommandInvocations {
			switch status := *v.Status; {
			case *v.InstanceId != real.id && status != "Success":
				t.Errorf("command %s on %s ended as %s", *c.CommandId, *v.InstanceId, *v.StatusDetails)
			case *v.InstanceId == real.id && status == "Success" && ran[*c.Comment] != 1:
				t.Errorf("command %s is Success, but the agent ran it %d times", *c.CommandId, ran[*c.Comment])
			case *v.InstanceId == real.id && status != "Success" && real.kills.Load() == 0:
				t.Errorf("command %s on the agent ended as %s: %s", *c.CommandId, *v.StatusDetails, codec.Value(v.TraceOutput))
			}
		}
	}
	for id, res := range h.reported {
		var out ssm.DescribeInstancePatchStatesOutput
		if err := client.Call(ctx, client.Admin, "ssm", "DescribeInstancePatchStates", &ssm.DescribeInstancePatchStatesInput{InstanceIds: []string{id}}, &out); err != nil {
			t.Fatal(err)
		}
		if len(out.InstancePatchStates) != 1 {
			t.Errorf("the report of %s is lost", id)
			continue
		}
		st := out.InstancePatchStates[0]
		at := codec.TimeOf(st.OperationEndTime)
		if at.Before(res.Header.EndedAt) || at.Equal(res.Header.EndedAt) && int(*st.MissingCount) != res.Header.Counts.Missing {
			t.Errorf("%s shows the scan of %v with %d missing, it reported %v with %d", id, at, *st.MissingCount, res.Header.EndedAt, res.Header.Counts.Missing)
		}
	}
	names := map[string]int{}
	var bases ssm.DescribePatchBaselinesOutput
	in := &ssm.DescribePatchBaselinesInput{Filters: []ssm.PatchOrchestratorFilter{{Key: new("OWNER"), Values: []string{"Self"}}}, MaxResults: new(int64(100))}
	if err := client.Call(ctx, client.Admin, "ssm", "DescribePatchBaselines", in, &bases); err != nil {
		t.Fatal(err)
	}
	for _, b := range bases.BaselineIdentities {
		if names[*b.BaselineName]++; names[*b.BaselineName] == 2 {
			t.Errorf("one token made two baselines %s", *b.BaselineName)
		}
	}
	for token := range h.baselines {
		if names[strings.ReplaceAll(token, "-", "_")] != 1 {
			t.Errorf("the baseline of token %s is lost", token)
		}
	}
	s.checkAudit(t, known)
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, w := range h.wrong {
		if i == 20 {
			t.Errorf("and %d more", len(h.wrong)-i)
			break
		}
		t.Error(w)
	}
}

// checkAudit compares the audit records of SendCommand with the commands that there are: one for one.
func (s *installation) checkAudit(t *testing.T, known map[string]bool) {
	st, err := store.Open(t.Context(), store.Config{Path: filepath.Join(s.dir, "oakum.db"), URL: s.dbURL, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var sent int
	err = st.View(t.Context(), func(tx *store.Tx) error {
		list, err := tx.AuditEvents(store.Scope{Account: "000000000001", Region: "us-east-1"}, 1_000_000)
		for _, e := range list {
			if e.Name == "SendCommand" && e.ErrorCode == "" {
				sent++
				if err := json.Unmarshal([]byte(e.Body), &audit.Record{}); err != nil {
					return err
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if sent != len(known) {
		t.Errorf("%d audit records of SendCommand for %d commands", sent, len(known))
	}
}
