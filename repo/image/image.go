// Package image reads container images as files: an OCI image layout as a folder or a tar, and what "docker save"
// writes, in its old form (manifest.json and one tar a layer) and its new one (an OCI layout inside). Of an image it
// unpacks what package managers keep about themselves, and nothing else, so that a scan can judge it like any other root.
//
//	a, err := image.Open("debian.tar", dir)
//	img, err := a.Choose(ctx, image.Want{Arch: runtime.GOARCH})
//	err = img.Unpack(ctx, root, image.DefaultLimits())
//
// Images are foreign bytes. Every blob's digest is verified, everything is bounded, nothing of an image is started,
// owners and device nodes are not made, and files are written through an os.Root, which no link leads out of. An image
// that is damaged or cut off is an error. Sources: OCI Image Specification 1.1 (image layout, index, manifest, layer);
// Docker Image Specification 1.2 (the archive of docker save).
package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Limits bound what an image may make us do. The zero value allows nothing: start from DefaultLimits.
type Limits struct {
	Layers  int   // layers of an image
	Entries int   // entries of all its layers
	Read    int64 // bytes of all its layers, decompressed
	Files   int   // files that are unpacked
	Written int64 // bytes of the files that are unpacked
	Path    int   // bytes of a name in a layer
}

// DefaultLimits are far beyond images that people make: the largest known have 127 layers and tens of gigabytes.
func DefaultLimits() Limits {
	return Limits{Layers: 512, Entries: 5_000_000, Read: 256 << 30, Files: 500_000, Written: 4 << 30, Path: 4096}
}

// Bounds on the JSON of an image.
const (
	maxJSON       = 4 << 20 // one index, manifest or configuration
	maxManifests  = 1000    // of all indexes of one archive
	maxIndexDepth = 4
)

// Want says which image of an archive is meant.
type Want struct {
	Platform string // "linux/arm64", "linux/arm/v7"; empty: linux on Arch, or the only one
	Arch     string // of this machine, in Go's words
	Name     string // a reference, a tag or a digest; empty: any
}

// Image is one image for one platform.
type Image struct {
	Name     string // the first of its names; may be empty
	Names    []string
	Digest   string // of its manifest; of its configuration where there is no manifest (old docker save)
	Platform string // "linux/amd64"

	blobs  blobs
	layers []layer
}

// Choose finds the image that is wanted. When several fit, the error names them.
func (a *Archive) Choose(ctx context.Context, want Want) (*Image, error) {
	all, err := a.list(ctx)
	if err != nil {
		return nil, err
	}
	fits := slices.DeleteFunc(slices.Clone(all), func(c *candidate) bool { return want.Name != "" && !c.called(want.Name) })
	if len(fits) == 0 {
		return nil, &ChoiceError{Text: fmt.Sprintf("no image is called %q", want.Name), Choices: choices(all)}
	}
	named := fits
	switch {
	case want.Platform != "":
		fits = slices.DeleteFunc(slices.Clone(named), func(c *candidate) bool { return !samePlatform(want.Platform, c.platform) })
		if len(fits) == 0 {
			return nil, &ChoiceError{Text: "there is no image for " + want.Platform, Choices: choices(named)}
		}
	case len(fits) > 1:
		fits = slices.DeleteFunc(slices.Clone(named), func(c *candidate) bool { return !samePlatform("linux/"+want.Arch, c.platform) })
		if len(fits) == 0 {
			return nil, &ChoiceError{Text: "there is no image for linux/" + want.Arch, Choices: choices(named)}
		}
	}
	if len(fits) > 1 { // what an index lists without holding it is no choice
		if there := slices.DeleteFunc(slices.Clone(fits), func(c *candidate) bool { return !c.there }); len(there) > 0 {
			fits = there
		}
	}
	if len(fits) > 1 {
		return nil, &ChoiceError{Text: "there are several images", Choices: choices(fits)}
	}
	c := fits[0]
	if !c.there {
		return nil, fmt.Errorf("the archive lists %s and does not hold it: save it for that platform", c)
	}
	return c.image(ctx, a.blobs)
}

// ChoiceError says that it is not clear which image of an archive is meant.
type ChoiceError struct {
	Text    string
	Choices []string // name or digest, and platform
}

func (e *ChoiceError) Error() string {
	return e.Text + "; the archive has " + strings.Join(e.Choices, ", ")
}

func choices(list []*candidate) []string {
	var out []string
	for _, c := range list[:min(len(list), 20)] {
		out = append(out, c.String())
	}
	if len(list) > 20 {
		out = append(out, fmt.Sprintf("and %d more", len(list)-20))
	}
	return out
}

// candidate is an image of an archive before it is read.
type candidate struct {
	names    []string
	digest   string
	platform string
	there    bool
	image    func(context.Context, blobs) (*Image, error)
}

func (c *candidate) String() string {
	name := c.digest
	if len(c.names) > 0 {
		name = c.names[0]
	}
	return name + " (" + c.platform + ")"
}

func (c *candidate) called(name string) bool {
	_, hash, _ := strings.Cut(c.digest, ":")
	if name == c.digest || len(name) >= 12 && strings.HasPrefix(hash, name) {
		return true
	}
	return slices.ContainsFunc(c.names, func(have string) bool {
		repo, tag := splitTag(have)
		base := repo[strings.LastIndexByte(repo, '/')+1:]
		return name == have || name == base+":"+tag || tag == "latest" && (name == repo || name == base) || !strings.ContainsAny(name, ":/") && name == tag
	})
}

// splitTag cuts a reference at its tag; one without a tag is "latest".
func splitTag(ref string) (repo, tag string) {
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[:i], ref[i+1:]
	}
	return ref, "latest"
}

// samePlatform reports whether have is what is asked for. Without a variant in the question every variant fits.
func samePlatform(want, have string) bool {
	return want == have || strings.Count(want, "/") == 1 && strings.HasPrefix(have, want+"/")
}

// plain makes a text of an image fit for a terminal.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
	return s[:min(len(s), 300)]
}

// errMissing is wrapped by the error of a blob that is not there.
var errMissing = errors.New("is not in the archive")
