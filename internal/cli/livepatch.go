package cli

import (
	"fmt"
	"strings"
	"time"

	"oakum.dev/compliance"
	"oakum.dev/patch/livepatch"
)

// livePatchText says where kernel live patching stands at now by what a scan found: the state, how long the node is
// protected, and what it needs a reboot for all the same. It is empty where the system has none.
func livePatchText(lp *compliance.LivePatch, now time.Time) string {
	if lp == nil {
		return ""
	}
	state := livepatch.At(lp, now)
	if state == livepatch.Unsupported {
		return ""
	}
	detail := lp.Detail
	if lp.Debt != "" && strings.HasPrefix(detail, "the running kernel gets no more live patches") { // which the other sentence says too
		_, detail, _ = strings.Cut(detail, "; ")
	}
	parts := []string{lp.Debt, detail}
	switch {
	case state == livepatch.Expired && lp.State != string(state): // since the scan
		parts = []string{"live patches ended on " + lp.SupportEnd.Format(time.DateOnly), "before, it was " + lp.Debt, detail}
		if lp.Debt == "" {
			parts[1] = ""
		}
	case lp.Debt == "" && detail == "" && !lp.SupportEnd.IsZero():
		parts = []string{"live patches until " + lp.SupportEnd.Format(time.DateOnly)}
	}
	says := ""
	for _, p := range parts {
		if p != "" {
			says += "; " + p
		}
	}
	return string(state) + strings.Replace(says, "; ", ": ", 1)
}

// warnLost warns of live patches that a reboot took away.
func warnLost(s *Streams, res *compliance.Result) {
	if alarm := res.Header.Reboot.LivePatch.Alarm(); alarm != "" {
		fmt.Fprintf(s.Err, "oakum: warning: %s\n", printable(alarm))
	}
}
