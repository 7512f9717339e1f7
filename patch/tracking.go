package patch

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"oakum.dev/compliance"
	"oakum.dev/patch/journal"
)

// trackingDir is where the original keeps what it found last. Scripts and hooks read it there; Oakum's own truth is in
// its state folder.
const trackingDir = "var/log/amazon/ssm/patch-configuration"

type trackedPatch struct {
	ID            string `json:"id"`
	InstalledTime int64  `json:"installedTime"`
	State         string `json:"state"`
}

// WriteTracking writes the two files of the original below root: the states of installed patches, and the summary.
func WriteTracking(root string, res *compliance.Result) error {
	return writeTracking(filepath.Join(root, trackingDir), "patch-states-configuration.json", linuxSummary, res)
}

// The names of the file with the last operation's summary.
const (
	linuxSummary   = "patch-inventory-from-last-operation.json"
	windowsSummary = "PatchInventoryFromLastOperation.json"
)

// TrackedSummary is the file below root that WriteTracking writes the summary to, an inventory item.
func TrackedSummary(root string) string { return filepath.Join(root, trackingDir, linuxSummary) }

// TrackedWindowsSummary is TrackedSummary for Windows.
func TrackedWindowsSummary(programData string) string {
	return filepath.Join(windowsTracking(programData), windowsSummary)
}

func windowsTracking(programData string) string {
	return filepath.Join(programData, "Amazon", "PatchBaselineOperations", "State")
}

// WriteWindowsTracking is WriteTracking for Windows: below %ProgramData%.
func WriteWindowsTracking(programData string, res *compliance.Result) error {
	return writeTracking(windowsTracking(programData), "PatchStatesConfiguration.json", windowsSummary, res)
}

func writeTracking(dir, statesFile, inventoryFile string, res *compliance.Result) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	doc := struct {
		LastNoReboot float64                 `json:"lastNoRebootInstallOperationTime"`
		States       map[string]trackedPatch `json:"patchStates"`
	}{epoch(res.Header.LastNoReboot), map[string]trackedPatch{}}
	for i := range res.Items {
		it := &res.Items[i]
		switch it.State {
		case compliance.Installed, compliance.InstalledOther, compliance.InstalledRejected, compliance.InstalledPendingReboot:
			doc.States[it.Title] = trackedPatch{it.ID, int64(epoch(it.InstalledTime)), string(it.State)}
		}
	}
	states, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	summary, err := json.Marshal(res.Inventory()[0])
	if err != nil {
		return err
	}
	return errors.Join(
		journal.WriteFile(filepath.Join(dir, statesFile), states, 0o644),
		journal.WriteFile(filepath.Join(dir, inventoryFile), summary, 0o644),
	)
}

func epoch(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}
