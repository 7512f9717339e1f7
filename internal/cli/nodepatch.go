package cli

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/klauspost/compress/zstd"
	"github.com/spf13/cobra"

	"oakum.dev/arn"
	"oakum.dev/awserr"
	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/document"
	"oakum.dev/internal/agent"
	"oakum.dev/patch"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
	"oakum.dev/wire/sigv4"
	"oakum.dev/wire/ssm"
)

// nodePatch is one run of AWS-RunPatchBaseline on a node: the payload of the document's step.
type nodePatch struct {
	operation, snapshotID, rebootOption, installList, override, associationID string
	endpoint, stateDir, givenUp, forOperation, onlyIfPending                  string
	document, baselineTags                                                    string
	adHoc                                                                     adHoc
	earlier                                                                   []compliance.Change // by other steps of the command
	said                                                                      bytes.Buffer        // talk that is held back
}

// newNodePatchCommand makes the hidden command that documents run. It is not part of the command-line contract.
func newNodePatchCommand(s *Streams) *cobra.Command {
	var o nodePatch
	cmd := &cobra.Command{
		Use:    "node-patch",
		Short:  "Run the patch engine for a document",
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.operation == "Settle" {
				return o.settle(cmd.Context(), s)
			}
			err := o.perform(cmd.Context(), s)
			defer func() { _, _ = s.Err.Write(o.said.Bytes()) }() // talk; a closed stderr must not fail the run
			if err != nil {
				if exit, ok := errors.AsType[*ExitError](err); ok && exit.Err == nil {
					return err
				}
				e, ok := errors.AsType[*patch.Error](err)
				if !ok {
					e = patch.Fail("FAILED", "%v", err)
				}
				fmt.Fprintln(s.Err, e.Line())
				return &ExitError{Code: exitFailed} // the step ends with 0, 1 or 194; the engine's code stands in the line
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.operation, "operation", "", "Scan or Install")
	f.StringVar(&o.snapshotID, "snapshot-id", "", "id of the snapshot that all nodes of the operation judge by")
	f.StringVar(&o.rebootOption, "reboot-option", "", "")
	f.StringVar(&o.installList, "install-override-list", "", "")
	f.StringVar(&o.override, "baseline-override", "", "")
	f.StringVar(&o.associationID, "association-id", "", "")
	f.StringVar(&o.givenUp, "given-up", "", "")
	f.StringVar(&o.endpoint, "endpoint", "", "")
	f.StringVar(&o.document, "document", document.RunPatchBaseline, "")
	f.StringVar(&o.baselineTags, "baseline-tags", "", "")
	o.adHoc.flags(f)
	f.StringVar(&o.forOperation, "for-operation", "", "")
	f.StringVar(&o.onlyIfPending, "only-if-pending", "true", "")
	stateDirFlag(cmd, &o.stateDir)
	return cmd
}

// node is the node that this step runs on: that of Oakum's agent or, with the address of a server, that of the agent which
// has started the step and lends its credentials.
func (o *nodePatch) node(ctx context.Context) (*agent.Node, error) {
	if o.endpoint == "" {
		node, err := agent.LoadNode(o.stateDir)
		if err != nil {
			return nil, agentError(err, o.stateDir)
		}
		return node, nil
	}
	id, region := os.Getenv("AWS_SSM_INSTANCE_ID"), os.Getenv("AWS_SSM_REGION_NAME")
	if id == "" || region == "" {
		return nil, coded("FAILED", 1, "AWS_SSM_INSTANCE_ID and AWS_SSM_REGION_NAME are not set: the step's agent does not say which node this is")
	}
	node, err := agent.BorrowedNode(o.stateDir, o.endpoint, region, id, Version, func() (sigv4.Credentials, error) { return sharedCredentials(ctx) })
	if err != nil {
		return nil, coded("FAILED", 1, "%v", err)
	}
	return node, nil
}

// sharedCredentials are those that the AWS agent shares with its steps, in a file that it writes anew every half hour.
func sharedCredentials(ctx context.Context) (sigv4.Credentials, error) {
	profile := cmp.Or(os.Getenv("AWS_PROFILE"), "default")
	shared, err := config.LoadSharedConfigProfile(ctx, profile, func(l *config.LoadSharedConfigOptions) {
		l.ConfigFiles = []string{}
		if file := os.Getenv("AWS_SHARED_CREDENTIALS_FILE"); file != "" {
			l.CredentialsFiles = []string{file}
		}
	})
	if err != nil {
		return sigv4.Credentials{}, fmt.Errorf("the credentials of the node: %w", err)
	}
	c := shared.Credentials
	if c.AccessKeyID == "" || c.SessionToken == "" {
		return sigv4.Credentials{}, fmt.Errorf("the profile %s of the shared credentials file holds no session of a node", profile)
	}
	return sigv4.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}, nil
}

// settle ends what crashes left of runs that nobody takes up; the agent does this when it starts.
func (o *nodePatch) settle(ctx context.Context, s *Streams) error {
	engine, _, _, err := scanEngine(ctx, s, &scanOptions{root: "/"})
	if err != nil {
		return failed(err)
	}
	known, err := agent.EndedCommands(o.stateDir)
	if err != nil {
		return failed(err)
	}
	ended, err := engine.Settle(ctx, func(command string) bool { return command == "" || command == o.givenUp || known[command] })
	for _, r := range ended {
		fmt.Fprintf(s.Out, "%s: %s: %s\n", r.ID, r.Outcome, r.Text)
	}
	if err == nil && o.givenUp != "" && !slices.ContainsFunc(ended, func(r patch.Run) bool { return r.ExecutionID == o.givenUp }) {
		err = o.sayEnded(s, engine.StateDir)
	}
	if err != nil {
		return failed(err)
	}
	return nil
}

// sayEnded tells that the run of a command that is given up had come to its end: only the step could not say so.
func (o *nodePatch) sayEnded(s *Streams, stateDir string) error {
	runs, err := patch.Runs(stateDir)
	if err != nil {
		return err
	}
	for _, r := range runs {
		if r.ExecutionID == o.givenUp && r.Phase == patch.PhaseEnded {
			fmt.Fprintf(s.Out, "%s had ended by itself: %s, %s changed. %s\n", r.ID, r.Outcome, plural(len(r.Changed), "package", "packages"), r.Text)
			break
		}
	}
	return nil
}

// coded is a failure with the engine's code.
func coded(reason string, code int, format string, args ...any) error {
	e := patch.Fail(reason, format, args...)
	e.Code = code
	return e
}

// perform does what the step asks for.
func (o *nodePatch) perform(ctx context.Context, s *Streams) error {
	switch o.operation {
	case "CheckState":
		return o.checkState(s)
	case "CheckReboot":
		return o.checkReboot(s)
	case "Reboot":
		return o.rebootNode(ctx, s)
	}
	return o.run(ctx, s)
}

func (o *nodePatch) run(ctx context.Context, s *Streams) error {
	if o.adHoc.allowReboot != "" {
		o.rebootOption = patch.RebootIfNeeded
		if o.adHoc.allowReboot == "False" {
			o.rebootOption = patch.NoReboot
		}
	}
	switch {
	case o.override != "" && o.installList != "":
		return coded("PARAM_CONFLICT", 167, "BaselineOverride and InstallOverrideList cannot be given together")
	case o.operation != "Scan" && o.operation != "Install":
		return coded("PARAM_CONFLICT", 1, "Operation is Scan or Install, not %q", o.operation)
	case o.rebootOption != "" && !slices.Contains(patch.RebootOptions(), o.rebootOption):
		return coded("PARAM_CONFLICT", 1, "RebootOption is %s, not %q", strings.Join(patch.RebootOptions(), ", "), o.rebootOption)
	case o.operation == "Install" && !agent.Privileged():
		return coded("FAILED", 1, "installing patches needs root, and the agent runs as an ordinary user. Nothing was changed")
	}
	node, err := o.node(ctx)
	if err != nil {
		return err
	}
	// What is said meanwhile comes after the reason: a failed step's first line is its cause.
	talk := &Streams{In: s.In, Out: s.Out, Err: &o.said}
	engine, platform, live, err := scanEngine(ctx, talk, &scanOptions{root: "/"})
	if err != nil {
		return err
	}
	if o.snapshotID == "" && o.operation == "Install" {
		o.snapshotID = begunSnapshot(engine.StateDir, os.Getenv("SSM_COMMAND_ID"), os.Getenv("OAKUM_STEP"))
	}
	if err := o.nameSnapshot(); err != nil {
		return err
	}
	override, err := o.loadOverride(ctx, node, platform)
	if err != nil {
		return err
	}
	snap, err := o.snapshot(ctx, node, override)
	if err != nil {
		return err
	}
	req := patch.ScanRequest{
		Baseline: &snap.Baseline, EvaluatedAt: snap.EvaluatedAt, SnapshotID: o.snapshotID, PatchGroup: snap.PatchGroup, ExecutionType: "Command",
		ExecutionID: os.Getenv("SSM_COMMAND_ID"), RebootOption: o.rebootOption, Refresh: live && agent.Privileged(), Record: agent.Privileged(), Catalogue: snap.Patches,
	}
	if override != nil && o.associationID != "" {
		req.ExecutionType = "PatchPolicy"
	}
	if o.operation == "Install" {
		req.RebootOption = cmp.Or(req.RebootOption, patch.RebootIfNeeded)
		return o.install(ctx, s, talk, node, engine, patch.InstallRequest{ScanRequest: req, LivePatchReboot: snap.LivePatchReboot}, override)
	}
	res, err := engine.Scan(ctx, req)
	if err != nil {
		return err
	}
	if !req.Refresh {
		sayAge(talk, res, engine.Now())
		res.Header.Degraded = append(res.Header.Degraded, "the package lists were not refreshed: the agent does not run as root")
	}
	return o.tell(ctx, s, talk, node, res, override)
}

// nameSnapshot makes up a snapshot id where the document has none.
func (o *nodePatch) nameSnapshot() (err error) {
	if command := os.Getenv("SSM_COMMAND_ID"); o.snapshotID == "" && o.document == document.RunPatchAssociation && arn.IsUUID(command) {
		o.snapshotID = command // the document has no parameter for it; all nodes of the command judge by one
	}
	if o.snapshotID == "" {
		o.snapshotID, err = arn.NewUUID(rand.Reader)
	}
	return err
}

// begunSnapshot is the snapshot of the run that this step has begun: after a crash or a reboot it goes on by the same
// baseline. It is empty when the step has begun none.
func begunSnapshot(stateDir, command, step string) string {
	if stateDir == "" || command == "" {
		return ""
	}
	runs, err := patch.Runs(stateDir)
	if err != nil {
		return "" // the engine looks for the run next, and says what is wrong
	}
	for i := range runs {
		if r := &runs[i]; r.Operation == patch.OperationInstall && r.ExecutionID == command && r.Step == step {
			return r.SnapshotID
		}
	}
	return ""
}

// tell prints a result and delivers it.
func (o *nodePatch) tell(ctx context.Context, s, talk *Streams, node *agent.Node, res *compliance.Result, override *ssm.BaselineOverride) error {
	warnLost(talk, res)
	for _, d := range res.Header.Degraded {
		fmt.Fprintf(talk.Err, "oakum: warning: %s\n", d)
	}
	writeStepSummary(s, node.InstanceID(), res)
	writeStepInstall(s, res)
	if err := writeStepResult(resultFile(), res); err != nil {
		return coded("DISK", 1, "the result for the steps after this one cannot be written: %v", err)
	}
	if agent.Privileged() {
		if err := writeTracking(res); err != nil {
			fmt.Fprintf(talk.Err, "oakum: warning: %v\n", err)
		}
	}
	switch {
	case o.adHoc.on:
		writeChosen(s, res)
		return nil
	case o.document == document.RunPatchAssociation:
		return o.reportAssociation(ctx, node, res)
	}
	if override != nil && o.associationID == "" {
		writeNonCompliant(s, res)
		return nil // with a plain override the node's stored compliance is not replaced
	}
	if i := res.Header.Install; i != nil { // the node's last install is the command's, not that of its last step
		i.Changes = append(slices.Clone(o.earlier), i.Changes...)
	}
	return deliver(ctx, talk, node, res)
}

// install runs Operation=Install and ends with the step's exit code: 194 asks the agent for a reboot, after which the
// step runs again and finishes.
func (o *nodePatch) install(ctx context.Context, s, talk *Streams, node *agent.Node, engine *patch.Engine, req patch.InstallRequest, override *ssm.BaselineOverride) error {
	req.Step, req.Deadline = os.Getenv("OAKUM_STEP"), stepDeadline()
	if o.installList != "" {
		var b []byte
		err := patiently(ctx, func() (err error) { b, err = fetchObject(ctx, node, o.installList); return err })
		if err != nil {
			return coded("OVERRIDE", 162, "%s: %v", o.installList, err)
		}
		if req.List, err = baseline.ParseInstallList(b); err != nil {
			return coded("OVERRIDE", 162, "%s: %v", o.installList, err)
		}
		req.ListName = o.installList
	}
	engine.Progress = func(p patch.Progress) {
		if p.Phase == "warning" {
			fmt.Fprintf(talk.Err, "oakum: warning: %s\n", p.Text)
		}
	}
	if err := checkFreeze(ctx, node, engine.StateDir, &req); err != nil {
		return err
	}
	in, err := engine.Install(ctx, req)
	if err != nil {
		return err
	}
	if o.earlier, err = patch.Earlier(engine.StateDir, req.ExecutionID, in.Run.ID); err != nil {
		fmt.Fprintf(talk.Err, "oakum: warning: earlier runs of this command cannot be read: %v\n", err)
	}
	// The report goes out before the reboot, also when the step was cancelled meanwhile.
	if err := o.tell(context.WithoutCancel(ctx), s, talk, node, in.Result, override); err != nil {
		if e, ok := errors.AsType[*patch.Error](err); ok && in.Reboot { // the report of the step after the reboot has it all
			fmt.Fprintln(s.Err, e.Line())
			return &ExitError{Code: rebootExit()}
		}
		return err
	}
	switch code := in.Run.Code; {
	case in.Reboot:
		if in.Run.Text != "" {
			fmt.Fprintln(s.Err, (&patch.Error{Reason: "PATCH_FAILED", Code: code, Err: errors.New(in.Run.Text)}).Line())
		}
		return &ExitError{Code: rebootExit()}
	case in.Run.Outcome == patch.OutcomeInterrupted:
		return coded("INTERRUPTED", code, "%s", strings.TrimPrefix(in.Run.Text, "INTERRUPTED: "))
	case code == patch.CodeDependency:
		return coded("DEPENDENCY", code, "%s", in.Run.Text)
	case code != 0:
		reason, text := "PATCH_FAILED", in.Run.Text
		if r, rest, ok := strings.Cut(text, ": "); ok {
			if _, known := patch.Failures()[r]; known {
				reason, text = r, rest
			}
		}
		return coded(reason, code, "%s", text)
	}
	return nil
}

// rebootExit is the exit code by which a step asks the agent for a reboot.
func rebootExit() int {
	if runtime.GOOS == "windows" {
		return document.ExitRebootWindows
	}
	return patch.CodeReboot
}

// writeTracking writes the files that the original keeps, where it keeps them on this system.
func writeTracking(res *compliance.Result) error {
	if runtime.GOOS == "windows" {
		return patch.WriteWindowsTracking(filepath.Dir(agent.DefaultStateDir), res)
	}
	return patch.WriteTracking("/", res)
}

// stepDeadline is when the agent ends this step; zero when it does not say.
func stepDeadline() time.Time {
	sec, err := strconv.ParseInt(os.Getenv("OAKUM_DEADLINE"), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(sec, 0)
}

// writeStepInstall prints what an install changed.
func writeStepInstall(s *Streams, res *compliance.Result) {
	i := res.Header.Install
	if i == nil {
		return
	}
	fmt.Fprintf(s.Out, "\nRun %s: %s changed\n", i.Run, plural(len(i.Changes), "package", "packages"))
	for _, c := range i.Changes {
		why := ""
		if c.Dependency {
			why = " (dependency)"
		}
		fmt.Fprintf(s.Out, "%s %s -> %s%s\n", idOf(c.Name, c.Arch), cmp.Or(c.Old, "(new)"), c.New, why)
	}
	for k := range res.Items {
		if it := &res.Items[k]; it.State == compliance.Failed {
			fmt.Fprintf(s.Out, "Failed %s: %s %s\n", it.Title, it.Reason, it.Detail)
		}
	}
	for _, f := range i.Leftovers {
		fmt.Fprintf(s.Out, "Changed configuration kept; the new version is %s\n", f)
	}
	for _, u := range i.Restarts {
		fmt.Fprintf(s.Out, "Service %s\n", u)
	}
	for _, u := range res.Header.Updaters {
		fmt.Fprintf(s.Out, "The node also updates itself: %s\n", u)
	}
}

// patience is how long a step waits for a server that is away, such as one that is being restarted.
const patience = time.Minute

// patiently repeats a call of the server as long as nobody answers it.
func patiently(ctx context.Context, call func() error) error {
	end := time.Now().Add(patience)
	for pause := 500 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := call()
		if err == nil || !away(err) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// away reports whether an error is that of a server that does not answer, or answers that it cannot now.
func away(err error) bool {
	if e, ok := errors.AsType[*awserr.Error](err); ok {
		return e.Status >= http.StatusInternalServerError
	}
	if e, ok := errors.AsType[*statusError](err); ok {
		return e.code >= http.StatusInternalServerError
	}
	var broken *net.OpError
	return errors.As(err, &broken) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// snapshot fetches the frozen baseline of the operation.
func (o *nodePatch) snapshot(ctx context.Context, node *agent.Node, override *ssm.BaselineOverride) (*baseline.Snapshot, error) {
	if o.adHoc.on {
		return o.adHoc.snapshot(time.Now())
	}
	id := node.InstanceID()
	in := &ssm.GetDeployablePatchSnapshotForInstanceInput{InstanceId: &id, SnapshotId: &o.snapshotID, BaselineOverride: override}
	if o.baselineTags != "" {
		in.BaselineTags = &o.baselineTags
	}
	var out ssm.GetDeployablePatchSnapshotForInstanceOutput
	err := patiently(ctx, func() error { return node.Client().Call(ctx, "ssm", "GetDeployablePatchSnapshotForInstance", in, &out) })
	if err != nil {
		switch awserr.Code(err) {
		case "UnsupportedOperatingSystem":
			return nil, coded("UNSUPPORTED_OS", 146, "%v", err)
		case "AccessDeniedException":
			return nil, coded("SNAPSHOT", 145, "%v", err)
		case "ValidationException":
			if o.baselineTags != "" {
				return nil, coded("BASELINE_LOOKUP", 153, "%v", err)
			}
		}
		return nil, coded("SNAPSHOT", 143, "%v", err)
	}
	var body []byte
	err = patiently(ctx, func() (err error) {
		body, err = download(ctx, node.HTTPClient(), codec.Value(out.SnapshotDownloadUrl))
		return err
	})
	if err != nil {
		return nil, coded("SNAPSHOT", 147, "download the snapshot: %v", err)
	}
	snap, err := baseline.ParseSnapshot(body)
	if err != nil {
		return nil, coded("SNAPSHOT", 150, "read the snapshot: %v", err)
	}
	return snap, nil
}

// maxDownload bounds snapshots and override lists.
const maxDownload = 8 << 20

func download(ctx context.Context, c *http.Client, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return fetch(c, req)
}

func fetch(c *http.Client, req *http.Request) ([]byte, error) {
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &statusError{resp.StatusCode, resp.Status}
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxDownload+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxDownload {
		return nil, fmt.Errorf("more than %d bytes", maxDownload)
	}
	return b, nil
}

// statusError is an answer other than 200.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return "the server answered " + e.text }

// loadOverride reads the BaselineOverride of the document: an https URL, or an object in a bucket of the server
// that is fetched with the node's own credentials.
func (o *nodePatch) loadOverride(ctx context.Context, node *agent.Node, p patch.Platform) (*ssm.BaselineOverride, error) {
	if o.override == "" {
		return nil, nil
	}
	var b []byte
	err := patiently(ctx, func() (err error) { b, err = fetchObject(ctx, node, o.override); return err })
	if err != nil {
		if st, ok := errors.AsType[*statusError](err); ok && st.code == http.StatusForbidden {
			return nil, coded("OVERRIDE", 160, "%s: %v", o.override, err)
		}
		return nil, coded("OVERRIDE", 162, "%s: %v", o.override, err)
	}
	bl, err := baseline.ParseOverrides(b, p.Node.OS)
	if err != nil {
		code := 161
		if c, ok := errors.AsType[*baseline.CodedError](err); ok {
			code = c.Code
		}
		return nil, coded("OVERRIDE", code, "%s: %v", o.override, err)
	}
	return overrideShape(bl), nil
}

func fetchObject(ctx context.Context, node *agent.Node, address string) ([]byte, error) {
	rest, ok := strings.CutPrefix(address, "s3://")
	if !ok {
		return downloadOverride(ctx, address)
	}
	bucketName, key, _ := strings.Cut(rest, "/")
	u, err := url.Parse(node.Endpoint())
	if err != nil {
		return nil, err
	}
	u = u.JoinPath(bucketName, key)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	creds, err := node.Credentials(ctx)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Amz-Content-Sha256", sigv4.EmptyHash)
	sigv4.Sign(req, sigv4.EmptyHash, creds, node.Region(), "s3", time.Now())
	return fetch(node.HTTPClient(), req)
}

// downloadOverride fetches a list from a public address: over TLS only, redirects included, since whoever could
// replace it on the way would decide what this node is judged by.
func downloadOverride(ctx context.Context, address string) ([]byte, error) {
	secure := func(u *url.URL) error {
		if u.Scheme != "https" {
			return fmt.Errorf("%s is not an https address", u.Redacted())
		}
		return nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if err := secure(u); err != nil {
		return nil, err
	}
	c := &http.Client{Timeout: time.Minute, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > 3 {
			return errors.New("more than three redirects")
		}
		return secure(r.URL)
	}}
	return download(ctx, c, address)
}

// overrideShape is a baseline in the form in which the API takes an override.
func overrideShape(b *baseline.Baseline) *ssm.BaselineOverride {
	group := func(g baseline.FilterGroup) *ssm.PatchFilterGroup {
		out := &ssm.PatchFilterGroup{PatchFilters: []ssm.PatchFilter{}}
		for _, f := range g.PatchFilters {
			out.PatchFilters = append(out.PatchFilters, ssm.PatchFilter{Key: &f.Key, Values: f.Values})
		}
		return out
	}
	out := &ssm.BaselineOverride{
		OperatingSystem: new(string(b.OperatingSystem)), GlobalFilters: group(b.GlobalFilters), ApprovedPatches: b.ApprovedPatches,
		ApprovedPatchesEnableNonSecurity: &b.ApprovedPatchesEnableNonSecurity, RejectedPatches: b.RejectedPatches, ApprovalRules: &ssm.PatchRuleGroup{PatchRules: []ssm.PatchRule{}},
	}
	if b.ApprovedPatchesComplianceLevel != "" {
		out.ApprovedPatchesComplianceLevel = new(string(b.ApprovedPatchesComplianceLevel))
	}
	if b.RejectedPatchesAction != "" {
		out.RejectedPatchesAction = new(string(b.RejectedPatchesAction))
	}
	for _, r := range b.ApprovalRules.PatchRules {
		w := ssm.PatchRule{PatchFilterGroup: group(r.PatchFilterGroup), EnableNonSecurity: &r.EnableNonSecurity}
		if r.ComplianceLevel != "" {
			w.ComplianceLevel = new(string(r.ComplianceLevel))
		}
		if r.ApproveAfterDays != nil {
			w.ApproveAfterDays = new(int64(*r.ApproveAfterDays))
		}
		if r.ApproveUntilDate != "" {
			w.ApproveUntilDate = &r.ApproveUntilDate
		}
		out.ApprovalRules.PatchRules = append(out.ApprovalRules.PatchRules, w)
	}
	for _, src := range b.Sources {
		out.Sources = append(out.Sources, ssm.PatchSource{Name: &src.Name, Products: src.Products, Configuration: &src.Configuration})
	}
	return out
}

// deliver uploads the result, hashes first. A result that cannot be delivered is kept on disk, and the agent sends
// it when the server is back.
func deliver(ctx context.Context, s *Streams, node *agent.Node, res *compliance.Result) error {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	items, available := compliance.EncodeItems(res.Items), compliance.EncodeAvailable(res.Available)
	id, head := node.InstanceID(), string(compliance.EncodeHeader(&res.Header))
	in := &oakum.PutPatchResultInput{
		InstanceId: &id, Header: &head, ItemsHash: new(compliance.Hash(items)), Items: z.EncodeAll(items, nil),
		AvailableHash: new(compliance.Hash(available)), Available: z.EncodeAll(available, nil),
	}
	if c := os.Getenv("SSM_COMMAND_ID"); c != "" {
		in.CommandId = &c
	}
	queued, err := node.DeliverReport(ctx, in)
	if queued {
		fmt.Fprintf(s.Err, "oakum: warning: the report could not be delivered (%v); it is kept and sent later\n", err)
		return nil
	}
	if err != nil {
		return coded("REPORT", 149, "%v", err)
	}
	return nil
}

// writeStepSummary prints the block with which the output of AWS-RunPatchBaseline begins; other tools look for
// its keys.
func writeStepSummary(s *Streams, nodeID string, res *compliance.Result) {
	h, c := &res.Header, res.Header.Counts
	stamp := func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }
	fmt.Fprintf(s.Out, "Patch Summary for %s\n", nodeID)
	for _, l := range [][2]string{
		{"PatchGroup", h.PatchGroup},
		{"BaselineId", h.BaselineID},
		{"SnapshotId", h.SnapshotID},
		{"RebootOption", h.RebootOption},
		{"OwnerInformation", ""},
		{"OperationType", h.Operation},
		{"OperationStartTime", stamp(h.StartedAt)},
		{"OperationEndTime", stamp(h.EndedAt)},
	} {
		fmt.Fprintf(s.Out, "%-20s: %s\n", l[0], l[1])
	}
	for _, l := range []struct {
		name string
		n    int
	}{
		{"InstalledCount", c.Installed},
		{"InstalledOtherCount", c.InstalledOther},
		{"InstalledRejectedCount", c.InstalledRejected},
		{"InstalledPendingRebootCount", c.InstalledPendingReboot},
		{"FailedCount", c.Failed},
		{"MissingCount", c.Missing},
		{"NotApplicableCount", c.NotApplicable},
		{"UnreportedNotApplicableCount", c.UnreportedNotApplicable},
	} {
		fmt.Fprintf(s.Out, "%s : %d\n", l.name, l.n)
	}
	fmt.Fprintf(s.Out, "ComplianceStatus : %s\n", h.Status)
}

// writeNonCompliant lists what is not fine: the only result of a run with a plain BaselineOverride.
func writeNonCompliant(s *Streams, res *compliance.Result) {
	fmt.Fprintln(s.Out, "\nNon-compliant patches (judged by the BaselineOverride; the stored compliance is unchanged):")
	n := 0
	for i := range res.Items {
		it := &res.Items[i]
		if it.Status() != compliance.NonCompliant {
			continue
		}
		n++
		fmt.Fprintf(s.Out, "%-24s %s\n", it.State, it.Title)
	}
	if n == 0 {
		fmt.Fprintln(s.Out, "none")
	}
}
