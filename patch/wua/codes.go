package wua

import (
	"errors"
	"fmt"
)

// ResultError is a result code of the agent or of COM.
type ResultError struct {
	Call string
	Code uint32
	Text string // what the system says about it; may be empty
}

func (e *ResultError) Error() string {
	s := e.Call + ": " + Explain(e.Code).Text()
	if e.Text != "" && !Explain(e.Code).Known {
		s += ": " + e.Text
	}
	return s
}

// Code is a result code with what it means.
type Code struct {
	Value  uint32
	Name   string // constant; empty where the code is not known
	Means  string
	Advice string // what to do; may be empty
	Retry  bool   // the same may go well a little later
	Known  bool
}

// Text says what happened, in one clause, with the code in hex and decimal.
func (c Code) Text() string {
	if !c.Known {
		return fmt.Sprintf("result code 0x%08X (%d)", c.Value, int32(c.Value))
	}
	return fmt.Sprintf("%s (%s, 0x%08X)", c.Means, c.Name, c.Value)
}

// codes are what operators meet. Sources: Microsoft Learn, "WUA Success and Error Codes" and "WUA Networking Error Codes" for what begins
// with 0x0024, 0x8024; "Windows Update error codes by component" for 0x80240437 and 0x80240438 and 0x80246xxx; "System Error Codes" for what
// begins with 0x8007, whose lower half is a system error; "Windows Update common errors and mitigation" for 0x800Fxxxx.
var codes = map[uint32]Code{
	0x00240003: {Name: "WU_S_UPDATE_ERROR", Means: "done, with errors in some updates"},
	0x00240005: {Name: "WU_S_REBOOT_REQUIRED", Means: "done as soon as the node is rebooted"},
	0x00240006: {Name: "WU_S_ALREADY_INSTALLED", Means: "it was installed already"},
	0x00240008: {Name: "WU_S_ALREADY_DOWNLOADED", Means: "it was downloaded already"},
	0x00242015: {Name: "WU_S_UH_INSTALLSTILLPENDING", Means: "its installation is still going on"},

	0x80240001: {Name: "WU_E_NO_SERVICE", Means: "the Windows Update Agent could not provide the service", Advice: "start the Windows Update service (wuauserv)", Retry: true},
	0x80240004: {Name: "WU_E_NOT_INITIALIZED", Means: "the agent could not be initialized", Advice: "restart the Windows Update service (wuauserv)"},
	0x80240007: {Name: "WU_E_INVALIDINDEX", Means: "the agent's answer changed while it was read", Retry: true},
	0x80240009: {Name: "WU_E_OPERATIONINPROGRESS", Means: "another operation of the agent is under way", Advice: "try again later", Retry: true},
	0x8024000B: {Name: "WU_E_CALL_CANCELLED", Means: "the operation was cancelled"},
	0x80240016: {Name: "WU_E_INSTALL_NOT_ALLOWED", Means: "another installation is under way, or the node has to be rebooted first", Advice: "reboot the node and try again"},
	0x80240017: {Name: "WU_E_NOT_APPLICABLE", Means: "it is not for this node"},
	0x80240019: {Name: "WU_E_EXCLUSIVE_INSTALL_CONFLICT", Means: "it can only be installed alone"},
	0x8024001E: {Name: "WU_E_SERVICE_STOP", Means: "the service or the system was being shut down", Advice: "try again after the shutdown", Retry: true},
	0x8024001F: {Name: "WU_E_NO_CONNECTION", Means: "there is no network connection", Advice: "look at the network"},
	0x80240022: {Name: "WU_E_ALL_UPDATES_FAILED", Means: "the operation failed for every update"},
	0x80240023: {Name: "WU_E_EULAS_DECLINED", Means: "its licence terms were not accepted"},
	0x80240024: {Name: "WU_E_NO_UPDATE", Means: "there are no updates to work on"},
	0x80240025: {Name: "WU_E_USER_ACCESS_DISABLED", Means: "group policy keeps this account away from Windows Update", Advice: "run it as SYSTEM, or change the policy"},
	0x8024002E: {Name: "WU_E_WU_DISABLED", Means: "policy allows no other update service than the configured one"},
	0x80240032: {Name: "WU_E_INVALID_CRITERIA", Means: "the agent does not understand the search"},
	0x80240034: {Name: "WU_E_DOWNLOAD_FAILED", Means: "it could not be downloaded", Advice: "look at the way to the update service, and at the proxy of the system (netsh winhttp show proxy)"},
	0x80240044: {Name: "WU_E_PER_MACHINE_UPDATE_ACCESS_DENIED", Means: "only administrators may do this", Advice: "run it as administrator"},
	0x80240437: {Name: "WU_E_PT_SECURITY_VERIFICATION_FAILURE", Means: "the update service would not authorize the node", Advice: "look at the clock, at the TLS settings, and at what the WSUS server's web service says"},
	0x80240438: {Name: "WU_E_PT_ENDPOINT_UNREACHABLE", Means: "there is no way to the update service", Advice: "look at routes, firewall and the proxy of the system (netsh winhttp show proxy)"},
	0x80240FFF: {Name: "WU_E_UNEXPECTED", Means: "the agent failed for a reason that it has no code for", Advice: "look into the agent's log (Get-WindowsUpdateLog)"},
	0x80242016: {Name: "WU_E_UH_POSTREBOOTSTILLPENDING", Means: "what it has to do after the reboot is still going on", Advice: "try again later", Retry: true},
	0x80244017: {Name: "WU_E_PT_HTTP_STATUS_DENIED", Means: "the update service or a proxy wants credentials (401)"},
	0x80244018: {Name: "WU_E_PT_HTTP_STATUS_FORBIDDEN", Means: "the update service or a proxy forbids it (403)", Advice: "allow the node's SYSTEM account at the proxy"},
	0x80244019: {Name: "WU_E_PT_HTTP_STATUS_NOT_FOUND", Means: "the update service does not have it (404)", Advice: "on WSUS: look whether the files of the update were downloaded"},
	0x8024401B: {Name: "WU_E_PT_HTTP_STATUS_PROXY_AUTH_REQ", Means: "the proxy wants credentials (407)", Advice: "let SYSTEM pass without: it has none"},
	0x8024401C: {Name: "WU_E_PT_HTTP_STATUS_REQUEST_TIMEOUT", Means: "the update service did not answer in time (408)", Advice: "try again later; on WSUS: look at its application pool", Retry: true},
	0x8024401F: {Name: "WU_E_PT_HTTP_STATUS_SERVER_ERROR", Means: "the update service has a fault of its own (500)", Retry: true},
	0x80244022: {Name: "WU_E_PT_HTTP_STATUS_SERVICE_UNAVAIL", Means: "the update service is overloaded (503)", Advice: "try again later; on WSUS: look at its application pool", Retry: true},
	0x8024402C: {Name: "WU_E_PT_WINHTTP_NAME_NOT_RESOLVED", Means: "the name of the update service or of the proxy is not known", Advice: "look at the name service, and at the proxy of the system (netsh winhttp show proxy)"},
	0x80246007: {Name: "WU_E_DM_NOTDOWNLOADED", Means: "it is not downloaded", Retry: true},
	0x80246008: {Name: "WU_E_DM_FAILTOCONNECTTOBITS", Means: "the background transfer service does not answer", Advice: "start the service BITS"},

	0x80070005: {Name: "E_ACCESSDENIED", Means: "access denied", Advice: "run it as SYSTEM: Windows Update installs nothing for a logon over the network"},
	0x8007000E: {Name: "E_OUTOFMEMORY", Means: "there is too little memory"},
	0x80070070: {Name: "ERROR_DISK_FULL", Means: "the disk is full", Advice: "make room on the system's drive"},
	0x80070422: {Name: "ERROR_SERVICE_DISABLED", Means: "the Windows Update service is disabled", Advice: "sc config wuauserv start= demand"},
	0x80070424: {Name: "ERROR_SERVICE_DOES_NOT_EXIST", Means: "there is no Windows Update service", Advice: "the system is damaged or not Windows: nothing can be patched here"},
	0x80070643: {Name: "ERROR_INSTALL_FAILURE", Means: "its installer failed", Advice: "look into the update's own log; for updates of the recovery environment its partition may be too small"},
	0x80070BC2: {Name: "ERROR_SUCCESS_REBOOT_REQUIRED", Means: "done as soon as the node is rebooted"},
	0x80070BC9: {Name: "ERROR_FAIL_REBOOT_REQUIRED", Means: "it failed, and a reboot takes it back", Advice: "reboot the node"},
	0x80072EE2: {Name: "ERROR_INTERNET_TIMEOUT", Means: "the update service did not answer in time", Advice: "look at the way to it, and at the proxy of the system (netsh winhttp show proxy)", Retry: true},
	0x80072EE7: {Name: "ERROR_INTERNET_NAME_NOT_RESOLVED", Means: "the name of the update service is not known", Advice: "look at the name service"},
	0x80072EFD: {Name: "ERROR_INTERNET_CANNOT_CONNECT", Means: "the update service cannot be connected to", Advice: "look at the firewall, and at the proxy of the system (netsh winhttp show proxy)"},
	0x80072F8F: {Name: "ERROR_INTERNET_SECURE_FAILURE", Means: "the certificate of the update service is not accepted", Advice: "look at the clock, and whether a proxy replaces certificates"},
	0x800F0831: {Name: "CBS_E_STORE_CORRUPTION", Means: "the component store lacks what it builds on", Advice: "install the update before it, or repair with dism /online /cleanup-image /restorehealth"},
	0x800F0922: {Name: "CBS_E_INSTALLERS_FAILED", Means: "servicing failed", Advice: "look for room in the system reserved partition, then into C:\\Windows\\Logs\\CBS\\CBS.log"},

	0x80004001: {Name: "E_NOTIMPL", Means: "the Windows Update Agent of this system lacks the call", Advice: missingAgent},
	0x80040154: {Name: "REGDB_E_CLASSNOTREG", Means: "there is no Windows Update Agent on this system", Advice: missingAgent},
	0x800401F3: {Name: "CO_E_CLASSSTRING", Means: "there is no Windows Update Agent on this system", Advice: missingAgent},
}

const missingAgent = "run it on a Windows that has its Windows Update Agent: nothing can be judged without it"

// Explain says what a result code means. Codes that begin with 0x0024 are successes.
func Explain(code uint32) Code {
	c, ok := codes[code]
	c.Value, c.Known = code, ok
	return c
}

// resultOf finds the agent's result code in an error.
func resultOf(err error) (uint32, bool) {
	var r *ResultError
	if errors.As(err, &r) {
		return r.Code, true
	}
	return 0, false
}

// hintOf is the advice that an error brings along.
func hintOf(err error) string {
	var h interface{ HintText() string }
	if errors.As(err, &h) {
		return h.HintText()
	}
	return ""
}
