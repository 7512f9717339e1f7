package document

import (
	"fmt"
	"strings"
)

// Support says what a node can do with a plugin.
type Support int

// The levels of support.
const (
	Unknown     Support = iota // a plugin this agent has never heard of
	Unsupported                // known, but not for this platform
	Supported
)

// Decision is what to do with a step: run it (zero Status) or report Status and Reason without running it.
type Decision struct {
	Status Status // "", Skipped or Failed
	Reason string
}

// Decide applies schema rules and preconditions to a step that no earlier exit has skipped.
// Source: measured order of amazon-ssm-agent 3.3: plugin support first, then the precondition.
func (d *Document) Decide(s Step, support Support, p Platform, values Values) Decision {
	modern := d.SchemaVersion == "2.2"
	switch {
	case support == Unknown:
		return Decision{Failed, fmt.Sprintf("Plugin with name %s is not supported by this version of ssm agent, please update to latest version", s.Action)}
	case !modern && (s.Precondition != nil || s.malformed != ""):
		return Decision{Failed, fmt.Sprintf("Precondition is not supported for document schema version %s", d.SchemaVersion)}
	case !modern && support == Unsupported:
		return Decision{Failed, fmt.Sprintf("Plugin with name %s is not supported in current platform", s.Action)}
	case support == Unsupported:
		return Decision{Skipped, fmt.Sprintf("Step execution skipped due to unsupported plugin: %s. Step name: %s", s.Action, s.Name)}
	case s.malformed != "":
		return Decision{Failed, s.malformed}
	case s.Precondition == nil:
		return Decision{}
	}
	met, malformed := d.satisfied(s.Precondition, p, values)
	switch {
	case malformed != "":
		return Decision{Failed, malformed}
	case !met:
		return Decision{Skipped, "Step execution skipped due to unsatisfied preconditions: " + describe(s.Precondition) + ". Step name: " + s.Name}
	}
	return Decision{}
}

func (d *Document) satisfied(conditions map[string][]string, p Platform, values Values) (met bool, malformed string) {
	for _, op := range sortedKeys(conditions) {
		args := conditions[op]
		if op != "StringEquals" {
			return false, fmt.Sprintf("unrecognized precondition operator %q", op)
		}
		if len(args) != 2 {
			return false, fmt.Sprintf("StringEquals needs exactly 2 arguments, got %d", len(args))
		}
		ok, why := d.equal(args[0], args[1], p, values)
		if why != "" {
			return false, why
		}
		if !ok {
			return false, ""
		}
	}
	return true, ""
}

func (d *Document) equal(a, b string, p Platform, values Values) (equal bool, malformed string) {
	for _, arg := range []string{a, b} {
		if compact := strings.ReplaceAll(arg, " ", ""); strings.Contains(compact, "{{ssm:") || strings.Contains(compact, "{{ssm-secure:") {
			return false, "Parameter Store references are not allowed in preconditions"
		}
	}
	if strings.EqualFold(b, "platformType") && !strings.EqualFold(a, "platformType") {
		a, b = b, a
	}
	if strings.EqualFold(a, "platformType") {
		if anyReference.MatchString(b) || strings.EqualFold(b, "platformType") {
			return false, "the value compared with platformType must be a platform name"
		}
		return strings.EqualFold(b, string(p)), ""
	}
	if a == b {
		return false, "the arguments of StringEquals are identical"
	}
	if !d.refers(a) && !d.refers(b) {
		return false, "at least one argument of StringEquals must contain a document parameter"
	}
	return text(Substitute(a, values)) == text(Substitute(b, values)), ""
}

// refers reports whether s contains a reference to a parameter of the document.
func (d *Document) refers(s string) bool {
	for _, m := range anyReference.FindAllStringSubmatch(s, -1) {
		if d.Parameters[m[1]] != nil {
			return true
		}
	}
	return false
}

func readPrecondition(v any) (conditions map[string][]string, malformed string) {
	if v == nil {
		return nil, ""
	}
	m, ok := v.(map[string]any)
	if !ok || len(m) == 0 {
		return nil, "the precondition must be an object with one operator"
	}
	conditions = map[string][]string{}
	for _, op := range sortedKeys(m) {
		list, ok := m[op].([]any)
		if !ok {
			return nil, fmt.Sprintf("precondition %s must be a list of strings", op)
		}
		args := make([]string, len(list))
		for i, item := range list {
			if args[i], ok = item.(string); !ok {
				return nil, fmt.Sprintf("precondition %s must be a list of strings", op)
			}
		}
		conditions[op] = args
	}
	return conditions, ""
}

func describe(conditions map[string][]string) string {
	var parts []string
	for _, op := range sortedKeys(conditions) {
		parts = append(parts, fmt.Sprintf("%s: %v", op, conditions[op]))
	}
	return strings.Join(parts, "; ")
}
