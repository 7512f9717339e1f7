package report

import (
	"encoding/json"
	"time"

	"oakum.dev/compliance"
	"oakum.dev/patch/livepatch"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
)

// maxLivePatchList bounds each list that a node's row keeps of its live patches; the whole is in the scan's header.
const maxLivePatchList = 50

// livePatchRow is what a node's row keeps of its kernel live patching, so that a fleet can be listed by it.
type livePatchRow struct {
	compliance.LivePatch
	RemainingCount int `json:"remainingCount,omitempty"` // also of those that are not listed
}

// livePatchColumn is the row's text; empty: the node has no live patching.
func livePatchColumn(lp *compliance.LivePatch) string {
	if lp == nil {
		return ""
	}
	r := livePatchRow{LivePatch: *lp, RemainingCount: len(lp.Remaining)}
	r.CVEs, r.Packages = nil, nil
	for _, list := range []*[]string{&r.Modules, &r.Remaining, &r.Lost} {
		*list = (*list)[:min(len(*list), maxLivePatchList)]
	}
	b, err := json.Marshal(r)
	if err != nil || len(b) > 64<<10 { // no node of ours sends such; what counts is kept
		b, err = json.Marshal(livePatchRow{LivePatch: compliance.LivePatch{State: lp.State[:min(len(lp.State), 20)], SupportEnd: lp.SupportEnd}})
	}
	if err != nil { // a year that JSON cannot hold
		return ""
	}
	return string(b)
}

// wireLivePatch reads a row's text, with the state that it has come to by now.
func wireLivePatch(column string, now time.Time) *oakum.KernelLivePatch {
	var r livePatchRow
	if column == "" || json.Unmarshal([]byte(column), &r) != nil {
		return nil
	}
	w := &oakum.KernelLivePatch{
		State: new(string(livepatch.At(&r.LivePatch, now))), System: &r.System, Kernel: &r.Kernel, EffectiveKernel: &r.Effective, Modules: r.Modules,
		LostModules: r.Lost, RemainingCVEIds: r.Remaining, RemainingCVECount: new(int64(r.RemainingCount)), RebootDebt: &r.Debt, Detail: &r.Detail,
	}
	if !r.SupportEnd.IsZero() {
		w.SupportEndDate = codec.NewTime(r.SupportEnd)
	}
	return w
}
