package document

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
)

//go:embed builtin/*.yaml
var builtinFiles embed.FS

// Builtin is a document that exists in every account, owned by Amazon.
type Builtin struct {
	Name      string
	Version   string     // of the content; changes with every edit
	Platforms []Platform // where its steps can run
	*Document
}

// Names of the built-in documents that code refers to.
const (
	RunPatchBaseline        = "AWS-RunPatchBaseline"
	RunPatchAssociation     = "AWS-RunPatchBaselineAssociation"
	RunPatchHooks           = "AWS-RunPatchBaselineWithHooks"
	RebootAndReport         = "Oakum-RebootAndReport"
	Noop                    = "AWS-Noop"
	RunShellScript          = "AWS-RunShellScript"
	RunPowerShellScript     = "AWS-RunPowerShellScript"
	GatherSoftwareInventory = "AWS-GatherSoftwareInventory"
	ConfigureLivePatching   = "AWS-ConfigureKernelLivePatching"
)

// Snapshots reports whether a document judges nodes by the snapshot that its parameter SnapshotId names.
func Snapshots(name string) bool {
	b, ok := LookupBuiltin(name)
	return ok && b.Parameters["SnapshotId"] != nil
}

var builtins = sync.OnceValue(func() []Builtin {
	entries, err := builtinFiles.ReadDir("builtin")
	if err != nil {
		panic(err)
	}
	var all []Builtin
	for _, e := range entries {
		text, err := builtinFiles.ReadFile("builtin/" + e.Name())
		if err != nil {
			panic(err)
		}
		d, err := Parse(text, YAML)
		if err != nil {
			panic(fmt.Sprintf("built-in document %s: %v", e.Name(), err))
		}
		name := strings.TrimSuffix(e.Name(), path.Ext(e.Name()))
		all = append(all, Builtin{Name: name, Version: "1", Platforms: d.Platforms(), Document: d})
	}
	return all
})

// Builtins returns the documents owned by Amazon, sorted by name. Their content is JSON of Document.Content.
func Builtins() []Builtin { return slices.Clone(builtins()) }

// LookupBuiltin returns the built-in document of that name.
func LookupBuiltin(name string) (Builtin, bool) {
	for _, b := range builtins() {
		if b.Name == name {
			return b, true
		}
	}
	return Builtin{}, false
}
