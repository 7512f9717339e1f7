package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"oakum.dev/document"
)

// maxStarts bounds how often a re-runnable step is started after crashes.
const maxStarts = 3

// outcome is the result of a step before the document's modifiers.
type outcome struct {
	status  document.Status
	code    int
	notice  string // first line of stderr
	message string // last line of stderr
	killed  bool   // a signal from outside ended the script
}

func failed(message string) outcome {
	return outcome{status: document.Failed, code: 1, message: message}
}

func interrupted(detail string) outcome {
	return outcome{status: document.Failed, code: 1, notice: "OAKUM INTERRUPTED: " + detail + "\n"}
}

// lacking are plugins that this agent knows and does not have, with what to do instead: their steps fail and say so.
var lacking = map[string]string{
	"aws:configurePackage":   "this agent installs no packages of Distributor: install them with the node's own package manager, from a script",
	"aws:refreshAssociation": "this agent keeps no associations that it could look at: start-associations-once runs them now",
	"aws:updateSsmAgent":     "this is Oakum's agent, which AWS-UpdateSSMAgent does not update: run the server's install.sh on the node again",
}

// support says what this agent can do with a plugin. Plugins that exist elsewhere but not here yet are unknown, so
// that a step is never skipped in silence.
func (a *Agent) support(action string) document.Support {
	if lacking[action] != "" {
		return document.Supported
	}
	switch action {
	case "aws:runShellScript":
		if a.self.Type == document.Windows {
			return document.Unsupported
		}
		return document.Supported
	case "aws:softwareInventory", document.RunDocument, pluginDownload, pluginPowerShell: // where there is no PowerShell, the step fails and says so
		return document.Supported
	case pluginModule:
		if a.self.Type == document.Windows {
			return document.Supported
		}
		return document.Unsupported
	case "aws:applications", "aws:domainJoin", "aws:cloudWatch":
		if a.self.Type != document.Windows {
			return document.Unsupported
		}
	}
	return document.Unknown
}

// run runs or resumes the document's steps and returns its status. Those of the command's own document are reported one
// by one; those of others with the step that runs them, and they cannot ask for a reboot: what comes after one is for
// the command's own document to say. An error means that ctx ended, or the disk failed.
func (f *frame) run(ctx context.Context) (document.Status, error) {
	c, own := f.command, f.depth == 0
	var flow document.Flow
	statuses := make([]document.Status, 0, len(f.doc.Steps))
	for i := range f.doc.Steps {
		step := f.doc.Steps[i].Bind(f.values)
		for {
			if st := f.stateOf(step); own && st.finished && st.status == document.SuccessAndReboot {
				if err := f.settleReboot(ctx, i, step); err != nil {
					return "", err
				}
			}
			if f.stateOf(step).finished {
				break
			}
			o, err := f.runStep(ctx, i, step, &flow)
			if err != nil {
				return "", err
			}
			if !own && o.status == document.SuccessAndReboot {
				o.status, o.message = document.Failed, fmt.Sprintf("exit code %d: a document that another one runs cannot ask for a reboot", o.code)
			}
			if err := f.finishStep(ctx, i, step, o); err != nil {
				return "", err
			}
		}
		st := f.stateOf(step)
		status, _ := flow.Finish(step, st.status, st.code)
		if own {
			c.counts[status]++
			if !st.replied {
				if err := f.replyStep(i, step); err != nil {
					return "", err
				}
			}
		}
		statuses = append(statuses, status)
	}
	return document.Sum(statuses), nil
}

// runStep decides about a step and runs it. An error means that ctx ended, or the disk failed.
func (f *frame) runStep(ctx context.Context, i int, step document.Step, flow *document.Flow) (outcome, error) {
	c, a := f.command, f.agent
	st := f.stateOf(step)
	resumed := st.starts > 0 && (st.requests == 0 || a.sys.BootID() == st.boot)
	if !resumed {
		if flow.Skips(step, i, len(f.doc.Steps)) {
			return outcome{status: document.Skipped, message: f.skipReason(step, flow)}, nil
		}
		if f.isCancelled() && !f.mustRun(step) {
			return outcome{status: document.Cancelled, code: document.ExitKilled}, nil
		}
		if d := f.doc.Decide(step, a.support(step.Action), a.self.Type, f.values); d.Status == document.Skipped {
			if document.HasHooks(f.name) {
				d.Reason = hookSkipped(d.Reason)
			}
			return outcome{status: document.Skipped, message: d.Reason}, nil
		} else if d.Status != "" {
			return failed(d.Reason), nil
		}
	}
	if step.Action == document.RunDocument {
		return f.nested(ctx, i, step, resumed)
	}
	run := &stepRun{command: c, frame: f, index: i, step: step, dir: f.stepDir(i, step.Name), resumed: resumed}
	kind := kindStarting
	if resumed {
		o, ok, err := run.reattach(ctx)
		if err != nil || ok && !(o.killed && f.resumable(step)) {
			return o, err
		}
		switch {
		case f.resumable(step):
			kind = kindResuming
		case !f.rerunnable(step):
			return interrupted(fmt.Sprintf("step %s was running when the agent or the node stopped; it is not run again (engine code 1)", step.Name)), nil
		}
	}
	if err := os.MkdirAll(run.dir, 0o700); err != nil {
		return failed(err.Error()), nil
	}
	for {
		starts := f.stateOf(step).starts
		if kind == kindResuming && starts > maxStarts || kind == kindStarting && resumed && starts >= maxStarts {
			detail := fmt.Sprintf("step %s was started %d times and never finished", step.Name, starts)
			if kind == kindResuming {
				detail += c.settle(ctx)
			}
			return interrupted(detail + " (engine code 1)"), ctx.Err()
		}
		if resumed && f.isCancelled() {
			if f.resumable(step) {
				c.settle(ctx)
			}
			return outcome{status: document.Cancelled, code: document.ExitKilled}, nil
		}
		rec := record{Kind: kind, Step: f.key(step), Boot: a.sys.BootID()}
		if kind == kindStarting {
			rec.Output = run.outputSizes()
		} else if err := run.cutOutput(f.stateOf(step).output); err != nil {
			return failed(err.Error()), nil
		}
		if err := c.append(rec); err != nil {
			return outcome{}, err
		}
		run.attempt = f.stateOf(step).starts
		o, err := run.once(ctx)
		if err != nil || !o.killed || !f.resumable(step) {
			return o, err
		}
		kind, resumed = kindResuming, true // the engine was killed under a living agent: it finishes by its journal
	}
}

// settle lets the engine end the run of a step that is given up, and returns what it said.
func (c *command) settle(ctx context.Context) string {
	if c.agent.cfg.Settle == nil {
		return ""
	}
	var text string
	var err error
	for range maxStarts { // what killed the engine may kill this too
		if text, err = c.agent.cfg.Settle(ctx, c.id); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil { // the next start of the agent tries again
		c.agent.log.LogAttrs(ctx, slog.LevelError, "patch run not ended", slog.String("command", c.id), slog.Any("err", err))
		return "; what it left could not be put in order yet: " + err.Error()
	}
	if text != "" {
		text = "; " + text
	}
	return text
}

// once runs what a step consists of.
func (r *stepRun) once(ctx context.Context) (outcome, error) {
	if why := lacking[r.step.Action]; why != "" {
		return failed(r.step.Action + ": " + why), nil
	}
	switch r.step.Action {
	case "aws:softwareInventory":
		return r.inventory(ctx)
	case pluginDownload:
		return r.download(ctx)
	}
	var all []document.Status
	var worst outcome
	for n, p := range r.step.Properties {
		o, err := r.shell(ctx, n, p)
		if err != nil {
			return outcome{}, err
		}
		all = append(all, o.status)
		if n == 0 || document.Worst(all...) == o.status && o.status != worst.status {
			worst = o
		}
		if o.status == document.Cancelled || o.status == document.SuccessAndReboot {
			break
		}
	}
	return worst, nil
}

// resumable reports whether the step is the patch engine's and keeps a journal of its own, by which it finishes after
// a crash, without beginning anew.
func (f *frame) resumable(step document.Step) bool { return f.engine(step) == document.EngineInstalls }

// rerunnable reports whether starting the step again changes nothing that the first start did not.
func (f *frame) rerunnable(step document.Step) bool {
	switch step.Action {
	case "aws:softwareInventory", pluginDownload:
		return true
	}
	return f.engine(step) == document.EngineLooks
}

// finishStep records a result, uploads the output and queues the step's reply where that must be now.
func (f *frame) finishStep(ctx context.Context, i int, step document.Step, o outcome) error {
	c := f.command
	if o.status == document.SuccessAndReboot && c.state.reboots >= c.agent.cfg.MaxReboots {
		o = outcome{status: document.Failed, code: o.code, notice: fmt.Sprintf("OAKUM REBOOT: the step asked for a reboot again after %d reboots (engine code %d)\n", c.state.reboots, o.code)}
	}
	if err := c.append(record{Kind: kindFinished, Step: f.key(step), Status: o.status, Code: o.code, Notice: o.notice, Message: o.message}); err != nil {
		return err
	}
	if o.status != document.Skipped && f.depth == 0 {
		f.upload(ctx, i, step)
	}
	return nil
}

// replyStep queues the reply of a finished step: that step only.
func (f *frame) replyStep(i int, step document.Step) error {
	c, st := f.command, f.stateOf(step)
	reply := c.agent.reply(c.messageID, document.InProgress, "", map[string]stepReply{step.Name: f.stepReply(i, step)}, c.counts)
	reply.ReplyID = replyID(c.messageID, "step", step.Name, strconv.Itoa(st.starts), string(st.status))
	if err := c.agent.outbox.put(reply); err != nil {
		return err
	}
	return c.append(record{Kind: kindReplied, Step: step.Name})
}

// stepReply builds a step's part of a reply from its journal and output files.
func (f *frame) stepReply(i int, step document.Step) stepReply {
	c, st := f.command, f.stateOf(step)
	var flow document.Flow
	status, code := flow.Finish(step.Bind(f.values), st.status, st.code)
	dir := f.stepDir(i, step.Name)
	stdout, stderr := readHead(filepath.Join(dir, "stdout")), readHead(filepath.Join(dir, "stderr"))
	message := st.message
	if st.status == document.Skipped && document.HasHooks(f.name) {
		stdout, message = message, "" // not an error
	}
	stderr = st.notice + cut(stderr, maxStream-len(st.notice)-len(message)-1, streamCut)
	if message != "" && stderr != "" && !strings.HasSuffix(stderr, "\n") {
		stderr += "\n"
	}
	stderr += message
	r := stepReply{
		Status: status, Code: code, Name: step.Action, Output: join(stdout, stderr),
		StandardOutput: cut(stdout, maxStream, streamCut), StandardError: cut(stderr, maxStream, streamCut),
		StartDateTime: formatTime(st.begun), EndDateTime: formatTime(st.ended),
	}
	if c.payload.OutputS3BucketName != "" {
		r.OutputS3BucketName = c.payload.OutputS3BucketName
		r.OutputS3KeyPrefix = c.outputPrefix()
	}
	return r
}

// readHead reads as much of an output file as a reply can hold, and a little more to see that it is cut.
func readHead(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4*maxStream+8))
	if err != nil {
		return ""
	}
	return string(b)
}

// settleReboot deals with a step that asked for a reboot. When the node has rebooted since, it makes the step
// ready to run again; else it reports, requests the reboot, once more if it does not come, and fails the step in
// the end. It returns ctx's error when the process ends first, which is what a reboot looks like.
func (f *frame) settleReboot(ctx context.Context, i int, step document.Step) error {
	c, a := f.command, f.agent
	st := f.stateOf(step)
	if !st.replied {
		c.counts[document.SuccessAndReboot]++
		if err := f.replyStep(i, step); err != nil {
			return err
		}
		reply := a.reply(c.messageID, document.SuccessAndReboot, "", nil, c.counts)
		reply.ReplyID = replyID(c.messageID, "reboot", step.Name, strconv.Itoa(st.starts))
		if err := a.outbox.put(reply); err != nil {
			return err
		}
		delete(c.counts, document.SuccessAndReboot)
	}
	var problem string
	for {
		if boot := a.sys.BootID(); boot != st.boot && boot != "" && st.boot != "" {
			if st.requests == 0 { // it rebooted before we asked; that is as good
				if err := c.append(record{Kind: kindReboot, Step: step.Name}); err != nil {
					return err
				}
			}
			st.finished = false // in memory: the next start is written by runStep
			return nil
		}
		if st.requests >= 2 {
			problem = "the reboot was requested twice and did not happen"
			break
		}
		a.outbox.flush(ctx, 30*time.Second)
		if err := c.append(record{Kind: kindReboot, Step: step.Name}); err != nil {
			return err
		}
		a.setRebooting(true)
		a.log.LogAttrs(ctx, slog.LevelInfo, "reboot requested", slog.String("command", c.id), slog.Int("reboot", c.state.reboots))
		if err := a.sys.Reboot(ctx); err != nil {
			problem = "the reboot could not be started: " + err.Error()
			break
		}
		if !c.waitForReboot(ctx) {
			return ctx.Err()
		}
	}
	a.setRebooting(false)
	return f.finishStep(ctx, i, step, outcome{status: document.Failed, code: document.ExitReboot, notice: "OAKUM REBOOT: " + problem + " (engine code 194)\n"})
}

func (c *command) waitForReboot(ctx context.Context) bool {
	return wait(ctx, c.agent.timing.RebootWait)
}

func (a *Agent) rebooting() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.rebootAt.IsZero()
}

func (a *Agent) setRebooting(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rebootAt = time.Time{}
	if on {
		a.rebootAt = a.sys.Now()
	}
}
