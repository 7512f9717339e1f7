package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"oakum.dev/arn"
	"oakum.dev/compliance"
	"oakum.dev/document"
	"oakum.dev/internal/agent"
	"oakum.dev/patch"
	"oakum.dev/patch/journal"
)

// stepResult is what a command's scans and installs found and did so far, as hooks read it: the file whose path is in
// OAKUM_INSTALLED_JSON. Counts are those of the last of them.
type stepResult struct {
	Operation, BaselineId, SnapshotId, PatchGroup, RebootOption, ComplianceStatus string
	OperationStartTime, OperationEndTime                                          time.Time
	InstalledCount, InstalledOtherCount, InstalledRejectedCount                   int
	InstalledPendingRebootCount, MissingCount, FailedCount                        int
	RebootRequired                                                                bool
	RebootReasons                                                                 []string
	Installed                                                                     []installedPackage
	Failed                                                                        []failedPatch
}

// installedPackage is a package that the command has changed. Run is the engine's own record of it.
type installedPackage struct {
	Run, Name, Arch, From, To string
	Dependency                bool
}

type failedPatch struct{ Title, Reason, Detail string }

// resultFile is where the agent wants the result of this command; "" when it does not.
func resultFile() string { return os.Getenv("OAKUM_RESULT") }

// writeStepResult brings the command's result file up to date. A step that runs again after a crash or a reboot replaces
// what it has written before.
func writeStepResult(file string, res *compliance.Result) error {
	if file == "" {
		return nil
	}
	var old stepResult
	if b, err := os.ReadFile(file); err == nil {
		_ = json.Unmarshal(b, &old) // written below, whole
	}
	h, c := &res.Header, res.Header.Counts
	now := stepResult{
		Operation: h.Operation, BaselineId: h.BaselineID, SnapshotId: h.SnapshotID, PatchGroup: h.PatchGroup, RebootOption: h.RebootOption,
		ComplianceStatus: h.Status, OperationStartTime: h.StartedAt, OperationEndTime: h.EndedAt, InstalledCount: c.Installed,
		InstalledOtherCount: c.InstalledOther, InstalledRejectedCount: c.InstalledRejected, InstalledPendingRebootCount: c.InstalledPendingReboot,
		MissingCount: c.Missing, FailedCount: c.Failed, RebootRequired: h.Reboot.Required, RebootReasons: slices.Concat([]string{}, h.Reboot.Reasons),
		Installed: slices.Concat([]installedPackage{}, old.Installed), Failed: []failedPatch{},
	}
	if i := h.Install; i != nil {
		now.Installed = slices.DeleteFunc(now.Installed, func(p installedPackage) bool { return p.Run == i.Run })
		for _, ch := range i.Changes {
			now.Installed = append(now.Installed, installedPackage{i.Run, ch.Name, ch.Arch, ch.Old, ch.New, ch.Dependency})
		}
	}
	for i := range res.Items {
		if it := &res.Items[i]; it.State == compliance.Failed {
			now.Failed = append(now.Failed, failedPatch{it.Title, it.Reason, it.Detail})
		}
	}
	b, err := json.MarshalIndent(now, "", "  ")
	if err != nil {
		return err
	}
	return journal.WriteFile(file, append(b, '\n'), 0o600)
}

// lastResult is the result of the command's last scan or install. An agent that keeps none per command leaves the file
// of the node's last operation.
func lastResult() (stepResult, error) {
	var r stepResult
	file := resultFile()
	if file != "" {
		b, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(b, &r)
		}
		if err != nil {
			return r, coded("STATE_FILE", 152, "the result of the scan cannot be read: %v", err)
		}
		return r, nil
	}
	var item compliance.InventoryItem
	file = patch.TrackedSummary("/")
	if runtime.GOOS == "windows" {
		file = patch.TrackedWindowsSummary(filepath.Dir(agent.DefaultStateDir))
	}
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &item)
	}
	if err == nil && len(item.Content) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return r, coded("STATE_FILE", 152, "the result of the scan cannot be read: %v", err)
	}
	for name, n := range map[string]*int{"MissingCount": &r.MissingCount, "FailedCount": &r.FailedCount, "InstalledPendingRebootCount": &r.InstalledPendingRebootCount} {
		if *n, err = strconv.Atoi(item.Content[0][name]); err != nil {
			return r, coded("STATE_FILE", 152, "%s: %s is not a number", file, name)
		}
	}
	return r, nil
}

// skip ends a deciding step so that the steps after it are skipped, and says why in the last line of its output.
func skip(s *Streams, format string, args ...any) error {
	fmt.Fprintf(s.Out, format+"\n", args...)
	return &ExitError{Code: document.ExitSkipRest}
}

// checkState decides after the scan of AWS-RunPatchBaselineWithHooks whether there is anything to do.
// Source: AWS Systems Manager User Guide, "AWS-RunPatchBaselineWithHooks", steps 2 and 6.
func (o *nodePatch) checkState(s *Streams) error {
	if o.forOperation != patch.OperationInstall {
		return skip(s, "Operation is %s: nothing is installed", o.forOperation)
	}
	r, err := lastResult()
	if err != nil {
		return err
	}
	missing, waiting := r.MissingCount+r.FailedCount, r.InstalledPendingRebootCount
	switch {
	case o.installList != "": // it may name what the baseline does not approve
		fmt.Fprintf(s.Out, "the InstallOverrideList decides what is installed\n")
	case missing == 0 && waiting == 0:
		return skip(s, "nothing is missing, and nothing waits for a reboot")
	case missing == 0 && o.rebootOption == patch.NoReboot:
		return skip(s, "nothing is missing, and RebootOption is NoReboot")
	default:
		fmt.Fprintf(s.Out, "%s missing, %s for a reboot\n", plural(missing, "patch is", "patches are"), plural(waiting, "waits", "wait"))
	}
	return nil
}

// checkReboot decides after the installation whether the node is rebooted.
func (o *nodePatch) checkReboot(s *Streams) error {
	if o.rebootOption == patch.NoReboot {
		return skip(s, "RebootOption is NoReboot")
	}
	r, err := lastResult()
	if err != nil {
		return err
	}
	switch {
	case o.rebootOption == patch.RebootIfRequired && !r.RebootRequired:
		return skip(s, "nothing requires a reboot")
	case o.rebootOption != patch.RebootIfRequired && len(r.Installed) == 0 && r.InstalledPendingRebootCount == 0:
		return skip(s, "nothing was installed, and nothing waits for a reboot")
	}
	fmt.Fprintln(s.Out, "a reboot is due")
	return nil
}

// rebootNode asks for a reboot once, and ends well when it has come.
func (o *nodePatch) rebootNode(ctx context.Context, s *Streams) error {
	if !agent.Privileged() {
		return coded("REBOOT", 1, "rebooting needs root, and the agent runs as an ordinary user")
	}
	mark, err := rebootMark(o.stateDir)
	if err != nil {
		return err
	}
	boot := agent.BootID()
	if b, err := os.ReadFile(mark); err == nil {
		if string(b) != boot {
			fmt.Fprintln(s.Out, "the node was rebooted")
			return nil
		}
		return &ExitError{Code: rebootExit()} // it was asked for and has not come yet
	}
	if o.onlyIfPending == "true" {
		why, err := o.rebootDue(ctx, s)
		if err != nil {
			return err
		}
		if why == "" {
			fmt.Fprintln(s.Out, "nothing waits for a reboot: the node is not rebooted")
			return nil
		}
		fmt.Fprintln(s.Out, why)
	}
	if err := journal.WriteFile(mark, []byte(boot), 0o600); err != nil {
		return coded("REBOOT", 1, "%v", err)
	}
	return &ExitError{Code: rebootExit()}
}

// keepMarks is how long it is remembered that a command has asked for its reboot.
const keepMarks = 30 * 24 * time.Hour

// rebootMark is the file that remembers the boot in which this step asked for its reboot.
func rebootMark(stateDir string) (string, error) {
	command := os.Getenv("SSM_COMMAND_ID")
	if !arn.IsUUID(command) {
		return "", coded("REBOOT", 1, "this runs as a step of a command only")
	}
	dir := filepath.Join(cmp.Or(stateDir, agent.DefaultStateDir), "reboots")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", coded("REBOOT", 1, "%v", err)
	}
	if old, err := os.ReadDir(dir); err == nil {
		for _, e := range old {
			if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > keepMarks {
				_ = os.Remove(filepath.Join(dir, e.Name())) // the next one tries again
			}
		}
	}
	return filepath.Join(dir, command), nil
}

// rebootDue says why the node needs a reboot; "" when it does not. Nothing is refreshed, recorded or reported.
func (o *nodePatch) rebootDue(ctx context.Context, s *Streams) (string, error) {
	node, err := o.node(ctx)
	if err != nil {
		return "", err
	}
	engine, _, _, err := scanEngine(ctx, &Streams{In: s.In, Out: &o.said, Err: &o.said}, &scanOptions{root: "/"})
	if err != nil {
		return "", err
	}
	if err := o.nameSnapshot(); err != nil {
		return "", err
	}
	snap, err := o.snapshot(ctx, node, nil)
	if err != nil {
		return "", err
	}
	res, err := engine.Scan(ctx, patch.ScanRequest{
		Baseline: &snap.Baseline, EvaluatedAt: snap.EvaluatedAt, SnapshotID: o.snapshotID, PatchGroup: snap.PatchGroup, ExecutionType: "Command",
		ExecutionID: os.Getenv("SSM_COMMAND_ID"), Catalogue: snap.Patches,
	})
	if err != nil {
		return "", err
	}
	switch h := &res.Header; {
	case h.Counts.InstalledPendingReboot > 0:
		return plural(h.Counts.InstalledPendingReboot, "installed patch waits", "installed patches wait") + " for a reboot", nil
	case h.Reboot.Required && len(h.Reboot.Reasons) > 0:
		return "a reboot is required: " + h.Reboot.Reasons[0], nil
	case h.Reboot.Required:
		return "a reboot is required", nil
	}
	return "", nil
}
