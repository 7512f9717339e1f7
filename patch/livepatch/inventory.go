package livepatch

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The inventory type that nodes report the state under, and the version of its attributes.
const (
	InventoryType    = "Custom:KernelLivePatch"
	InventoryVersion = "1.0"
)

// maxAttribute is how many characters an inventory attribute may have. Source: AWS Systems Manager API Reference,
// PutInventory, AttributeValue.
const maxAttribute = 4096

// Entry is the status as an entry of InventoryType. Attributes that are not known are left out; lists are joined by
// commas. problems are what could not be read.
func (s *Status) Entry(problems []string) map[string]string {
	e := map[string]string{
		"State": string(s.State), "System": string(s.System), "Kernel": s.Kernel, "EffectiveKernel": s.Effective, "Modules": joined(s.Modules),
		"LivePatches": joined(s.Packages), "OtherLivePatches": joined(s.Others), "Service": s.Service, "CVEs": joined(s.CVEs), "Detail": s.Detail,
		"Problems": strings.Join(problems, "; "),
	}
	if !s.SupportEnd.IsZero() {
		e["SupportEnd"] = s.SupportEnd.Format(time.DateOnly)
	}
	if s.State != Unsupported {
		e["Transition"] = strconv.FormatBool(s.Transition)
	}
	for k, v := range e {
		switch v = clean(v); v {
		case "":
			delete(e, k)
		default:
			e[k] = v
		}
	}
	return e
}

// joined lists as many as an attribute holds, and how many there are more.
func joined(list []string) string {
	var b strings.Builder
	for i, x := range list {
		if b.Len()+len(x) > maxAttribute-len(", and 1000000 more") {
			fmt.Fprintf(&b, ", and %d more", len(list)-i)
			break
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(x)
	}
	return b.String()
}

// clean leaves of what tools print what an attribute may hold: valid text without control characters.
func clean(s string) string {
	if len(s) > maxAttribute {
		s = s[:maxAttribute-3] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}
