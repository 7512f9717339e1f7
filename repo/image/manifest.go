package image

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"slices"
	"strings"
)

// descriptor points at a blob. Source: OCI Image Specification, "OCI Content Descriptors".
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations"`
	Platform     *platform         `json:"platform"`
	ArtifactType string            `json:"artifactType"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant"`
}

func (p *platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" && (p.Architecture != "arm64" || p.Variant != "v8") {
		s += "/" + p.Variant
	}
	return plain(s)
}

// index is index.json, an image index or a Docker manifest list.
type index struct {
	Manifests []descriptor `json:"manifests"`
}

// manifest is an image manifest, of OCI or Docker.
type manifest struct {
	MediaType string       `json:"mediaType"`
	Config    descriptor   `json:"config"`
	Layers    []descriptor `json:"layers"`
	Manifests []descriptor `json:"manifests"`
}

// config is the part of an image's configuration that says what it is.
type config struct {
	platform
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// saved is one image of docker save's manifest.json.
type saved struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// layer is one layer: where it lies, and the digests of what lies there and of the tar in it.
type layer struct {
	name   string
	digest string // empty: not known
	size   int64  // -1: not known
	diffID string
}

// list finds the images of an archive.
func (a *Archive) list(ctx context.Context) ([]*candidate, error) {
	var out []*candidate
	b, err := readJSON(a.blobs, "index.json", "", -1)
	if err == nil {
		if err := checkLayout(a.blobs); err != nil {
			return nil, err
		}
		var top index
		if err := json.Unmarshal(b, &top); err != nil {
			return nil, fmt.Errorf("index.json: %w", err)
		}
		l := &lister{a.blobs, map[string]*candidate{}, nil, 0}
		if err := l.add(ctx, top.Manifests, nil, 0); err != nil {
			return nil, err
		}
		out = l.out
	} else if errors.Is(err, errMissing) {
		if out, err = listSaved(a.blobs); err != nil {
			return nil, err
		}
	} else {
		return nil, err
	}
	if len(out) == 0 {
		return nil, errors.New("the archive holds no image")
	}
	return out, nil
}

// checkLayout refuses a layout of another major version. A missing file is forgiven.
func checkLayout(a blobs) error {
	b, err := readJSON(a, "oci-layout", "", -1)
	if errors.Is(err, errMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	var v struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("oci-layout: %w", err)
	}
	if !strings.HasPrefix(v.Version, "1.") {
		return fmt.Errorf("the layout's version %.20q is not known; version 1 is", v.Version)
	}
	return nil
}

// lister walks indexes.
type lister struct {
	blobs blobs
	seen  map[string]*candidate
	out   []*candidate
	count int
}

func (l *lister) add(ctx context.Context, list []descriptor, names []string, depth int) error {
	for i := range list {
		d := &list[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		if l.count++; l.count > maxManifests {
			return fmt.Errorf("the archive lists more than %d manifests", maxManifests)
		}
		own := names
		for _, k := range []string{"io.containerd.image.name", "org.opencontainers.image.ref.name"} {
			if v := plain(d.Annotations[k]); v != "" && !slices.Contains(own, v) {
				own = append(slices.Clone(own), v)
			}
		}
		if d.Annotations["vnd.docker.reference.type"] == "attestation-manifest" || d.Platform != nil && d.Platform.OS == "unknown" {
			continue
		}
		if c := l.seen[d.Digest]; c != nil {
			for _, n := range own {
				if !slices.Contains(c.names, n) {
					c.names = append(c.names, n)
				}
			}
			continue
		}
		m, err := readManifest(l.blobs, d)
		if err != nil && !errors.Is(err, errMissing) {
			return err
		}
		if err == nil && len(m.Manifests) > 0 && len(m.Layers) == 0 {
			if depth == maxIndexDepth {
				return errors.New("the archive's indexes are nested too deeply")
			}
			if err := l.add(ctx, m.Manifests, own, depth+1); err != nil {
				return err
			}
			continue
		}
		c := &candidate{names: own, digest: d.Digest, platform: "?/?", there: err == nil}
		if d.Platform != nil {
			c.platform = d.Platform.String()
		}
		var conf *config
		if err == nil {
			if conf, err = readConfig(l.blobs, &m.Config); err != nil {
				if errors.Is(err, errNotImage) {
					continue // a signature, a chart, ...
				}
				if !errors.Is(err, errMissing) {
					return fmt.Errorf("the configuration of %s: %w", d.Digest, err)
				}
				c.there = false
			} else if d.Platform == nil {
				c.platform = conf.platform.String()
			}
		}
		c.image = func(_ context.Context, b blobs) (*Image, error) { return newImage(b, c, m, conf) }
		l.seen[d.Digest] = c
		l.out = append(l.out, c)
	}
	return nil
}

func newImage(b blobs, c *candidate, m *manifest, conf *config) (*Image, error) {
	img := &Image{Names: c.names, Digest: c.digest, Platform: c.platform, blobs: b}
	if len(c.names) > 0 {
		img.Name = c.names[0]
	}
	if len(m.Layers) != len(conf.RootFS.DiffIDs) {
		return nil, fmt.Errorf("the image is damaged: its manifest lists %d layers, its configuration %d", len(m.Layers), len(conf.RootFS.DiffIDs))
	}
	for i := range m.Layers {
		d := &m.Layers[i]
		if strings.Contains(d.MediaType, "+encrypted") {
			return nil, errors.New("the image's layers are encrypted: decrypt it first")
		}
		name, err := blobName(d.Digest)
		if err != nil {
			return nil, err
		}
		img.layers = append(img.layers, layer{name, d.Digest, d.Size, conf.RootFS.DiffIDs[i]})
	}
	return img, nil
}

func readManifest(b blobs, d *descriptor) (*manifest, error) {
	raw, err := readBlob(b, d)
	if err != nil {
		return nil, fmt.Errorf("the manifest %w", err)
	}
	m := new(manifest)
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("the manifest %s: %w", d.Digest, err)
	}
	return m, nil
}

// errNotImage says that a manifest is about something else than a container image.
var errNotImage = errors.New("no container image")

func readConfig(b blobs, d *descriptor) (*config, error) {
	switch d.MediaType {
	case "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json", "":
	default:
		return nil, errNotImage
	}
	raw, err := readBlob(b, d)
	if err != nil {
		return nil, err
	}
	c := new(config)
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, fmt.Errorf("%s: %w", d.Digest, err)
	}
	return c, nil
}

var hex64 = regexp.MustCompile(`^[0-9a-f]{64}$`)

// listSaved reads the manifest.json of docker save.
func listSaved(b blobs) ([]*candidate, error) {
	raw, err := readJSON(b, "manifest.json", "", -1)
	if errors.Is(err, errMissing) {
		return nil, errors.New("this is neither an OCI layout nor an archive of docker save: it has no index.json and no manifest.json")
	}
	if err != nil {
		return nil, err
	}
	var list []saved
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("manifest.json: %w", err)
	}
	if len(list) > maxManifests {
		return nil, fmt.Errorf("the archive lists more than %d images", maxManifests)
	}
	var out []*candidate
	for i := range list {
		s := &list[i]
		name, err := inside(s.Config)
		if err != nil {
			return nil, err
		}
		conf := new(config)
		raw, err := readJSON(b, name, "", -1)
		if err != nil {
			return nil, fmt.Errorf("manifest.json names %w", err)
		}
		sum := sha256.Sum256(raw)
		id := hex.EncodeToString(sum[:])
		// The name of the configuration is its hash; that of other tools may be anything.
		if n := strings.TrimSuffix(name[strings.LastIndexByte(name, '/')+1:], ".json"); hex64.MatchString(n) && n != id {
			return nil, fmt.Errorf("the image is damaged: %s does not have the digest of its name", name)
		}
		if err := json.Unmarshal(raw, conf); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for i := range s.RepoTags {
			s.RepoTags[i] = plain(s.RepoTags[i])
		}
		c := &candidate{names: s.RepoTags, digest: "sha256:" + id, platform: conf.platform.String(), there: true}
		c.image = func(_ context.Context, b blobs) (*Image, error) {
			m := &manifest{Layers: make([]descriptor, len(s.Layers))}
			for i := range m.Layers { // their digests are those of what is in them
				m.Layers[i].Digest = "sha256:" + strings.Repeat("0", 64)
			}
			img, err := newImage(b, c, m, conf)
			if err != nil {
				return nil, err
			}
			for i := range img.layers {
				n, err := inside(s.Layers[i])
				if err != nil {
					return nil, err
				}
				img.layers[i] = layer{n, "", -1, conf.RootFS.DiffIDs[i]}
			}
			return img, nil
		}
		out = append(out, c)
	}
	return out, nil
}

// blobName is where a layout keeps a blob.
func blobName(digest string) (string, error) {
	algorithm, h, _ := strings.Cut(digest, ":")
	if _, err := newHash(digest); err != nil {
		return "", err
	}
	return "blobs/" + algorithm + "/" + h, nil
}

// newHash makes the hash that a digest is of.
func newHash(digest string) (hash.Hash, error) {
	algorithm, h, _ := strings.Cut(digest, ":")
	raw, err := hex.DecodeString(h)
	switch {
	case err != nil || strings.ToLower(h) != h:
	case algorithm == "sha256" && len(raw) == sha256.Size:
		return sha256.New(), nil
	case algorithm == "sha512" && len(raw) == sha512.Size:
		return sha512.New(), nil
	}
	return nil, fmt.Errorf("%.150q is no digest that can be verified; sha256 and sha512 are", digest)
}

// readBlob reads a small blob and verifies it.
func readBlob(b blobs, d *descriptor) ([]byte, error) {
	name, err := blobName(d.Digest)
	if err != nil {
		return nil, err
	}
	return readJSON(b, name, d.Digest, d.Size)
}

// readJSON reads a small file and verifies its digest and its size where they are known.
func readJSON(b blobs, name, digest string, size int64) ([]byte, error) {
	f, have, err := b.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size >= 0 && have != size {
		return nil, fmt.Errorf("%s is damaged or cut off: it has %d bytes and should have %d", name, have, size)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(raw) > maxJSON {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxJSON)
	}
	if int64(len(raw)) != have {
		return nil, fmt.Errorf("%s is cut off: %d of %d bytes", name, len(raw), have)
	}
	if digest != "" {
		h, err := newHash(digest)
		if err != nil {
			return nil, err
		}
		h.Write(raw)
		if err := verify(name, digest, h); err != nil {
			return nil, err
		}
	}
	return raw, nil
}

func verify(what, digest string, h hash.Hash) error {
	_, want, _ := strings.Cut(digest, ":")
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("%s is damaged: its digest is %s and should be %s", what, got, want)
	}
	return nil
}
