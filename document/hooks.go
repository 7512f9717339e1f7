package document

import "strings"

// Steps of the documents that patch with hooks, as the agent knows them.
const (
	StepPatchScan   = "PatchScan"
	StepInstall     = "InstallNoReboot"
	StepPreInstall  = "PreInstallHook"
	StepPostInstall = "PostInstallHook"
	StepOnExit      = "OnExitHook"
	StepPostReboot  = "PostRebootHook"
	StepReport      = "RebootAndReport" // on Windows with "Windows" behind it
)

// hooks are the steps that run somebody's hook, with the name by which the hook gets to know what it is.
var hooks = map[string]map[string]string{
	RunPatchHooks:   {StepPreInstall: "pre-install", StepPostInstall: "post-install", StepOnExit: "on-exit"},
	RebootAndReport: {StepPostReboot: "post-reboot"},
}

// Hook is what the hook that a step of a document runs is called in OAKUM_HOOK; "" where the step runs none.
func Hook(doc, step string) string { return hooks[doc][step] }

// HasHooks reports whether a document is one of those that run hooks around patching.
func HasHooks(doc string) bool { return hooks[doc] != nil }

// Always reports whether a step is carried out also when its command was cancelled, once the step before names has been
// started: an exit hook puts right what the hooks before it have changed.
func Always(doc, step string) (before string, always bool) {
	return StepPreInstall, doc == RunPatchHooks && step == StepOnExit
}

// EngineUse is what a step has the patch engine do.
type EngineUse int

// The uses. An install is finished by its journal after a crash; what only looks is begun anew.
const (
	NoEngine EngineUse = iota
	EngineLooks
	EngineInstalls
)

// Engine says what a step of a built-in document has the patch engine do, with the document's values.
func Engine(doc string, s Step, values Values) EngineUse {
	if s.Action != "aws:runShellScript" && s.Action != "aws:runPowerShellScript" {
		return NoEngine
	}
	switch doc {
	case RunPatchHooks:
		if strings.HasPrefix(s.Name, StepReport) {
			return EngineInstalls
		}
		return EngineLooks
	case RebootAndReport:
		return EngineLooks
	}
	op, ok := PatchOperation(doc, values)
	switch {
	case !ok:
		return NoEngine
	case op == "Install":
		return EngineInstalls
	}
	return EngineLooks
}

// actions are the documents for Windows whose operation is not called so: name, parameter and default.
var actions = map[string]string{
	"AWS-InstallWindowsUpdates": "", "AWS-FindWindowsUpdates": "Scan", "AWS-InstallMissingWindowsUpdates": "Install", "AWS-InstallSpecificWindowsUpdates": "Install",
}

// PatchOperation is the operation, Scan or Install, of a document that patches; ok is false for other documents.
func PatchOperation(doc string, values Values) (op string, ok bool) {
	switch fixed, listed := actions[doc]; {
	case fixed != "":
		return fixed, true
	case listed:
		if op, _ = values["Action"].(string); op == "" {
			op = "Install"
		}
		return op, true
	case strings.HasPrefix(doc, RunPatchBaseline), doc == "AWS-ApplyPatchBaseline":
		op, _ = values["Operation"].(string)
		return op, true
	}
	return "", false
}
