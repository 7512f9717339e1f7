package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"oakum.dev/document"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/sigv4"
	"oakum.dev/wire/ssm"
)

// pluginDownload fetches a file for the steps after it.
const pluginDownload = "aws:downloadContent"

// maxContent bounds what a step downloads, in bytes.
const maxContent = 512 << 20

// sourceInfo is what an aws:downloadContent step says of its source.
// Source: AWS Systems Manager User Guide, "aws:downloadContent".
type sourceInfo struct {
	Path                  string `json:"path"` // of S3
	Name                  string `json:"name"` // of SSMDocument
	URL                   string `json:"url"`  // of HTTP
	AuthMethod            string `json:"authMethod"`
	Username              string `json:"username"`
	Password              string `json:"password"`
	AllowInsecureDownload any    `json:"allowInsecureDownload"`
}

// content is what is to be written: a stream that has to be closed, and the name that its source gives it.
type content struct {
	body io.ReadCloser
	name string
}

// download runs an aws:downloadContent step. The file is there whole or not at all.
func (r *stepRun) download(ctx context.Context) (outcome, error) {
	limited, cancel := context.WithTimeout(ctx, r.step.Timeout())
	defer cancel()
	go func() {
		select {
		case <-r.frame.whenCancelled():
			cancel()
		case <-limited.Done():
		}
	}()
	text, err := r.downloadOne(limited, r.step.Properties[0])
	switch {
	case ctx.Err() != nil:
		return outcome{}, ctx.Err()
	case r.frame.isCancelled():
		return outcome{status: document.Cancelled, code: document.ExitKilled}, nil
	case errors.Is(limited.Err(), context.DeadlineExceeded):
		return outcome{status: document.TimedOut, code: document.ExitKilled}, nil
	case err != nil:
		return failed("failed to download content: " + err.Error()), nil
	}
	if err := os.WriteFile(filepath.Join(r.dir, outputFiles[0]), []byte(text), 0o600); err != nil {
		return failed(err.Error()), nil
	}
	return outcome{status: document.Success}, nil
}

func (r *stepRun) downloadOne(ctx context.Context, inputs map[string]any) (string, error) {
	var info sourceInfo
	switch v := inputs["sourceInfo"].(type) {
	case nil:
	case map[string]any:
		b, err := json.Marshal(v)
		if err != nil {
			return "", err
		}
		if err := json.Unmarshal(b, &info); err != nil {
			return "", fmt.Errorf("sourceInfo cannot be read: %w", err)
		}
	default:
		if err := json.Unmarshal([]byte(document.Text(v)), &info); err != nil {
			return "", fmt.Errorf("sourceInfo is not a JSON object: %w", err)
		}
	}
	var c content
	var err error
	switch kind := document.Text(inputs["sourceType"]); kind {
	case "S3":
		c, err = r.command.agent.fromBucket(ctx, info)
	case "HTTP":
		c, err = r.command.agent.fromWeb(ctx, info)
	case "SSMDocument":
		c, err = r.frame.fromDocument(ctx, info)
	case "Git", "GitHub":
		return "", fmt.Errorf("this agent does not fetch from %s: put the files into a bucket and use S3, or use HTTP", kind)
	default:
		return "", fmt.Errorf("sourceType %q is not one of S3, HTTP, SSMDocument", kind)
	}
	if err != nil {
		return "", err
	}
	defer c.body.Close()
	return r.keep(document.Text(inputs["destinationPath"]), c)
}

// keep writes what was fetched to its destination: below the command's downloads unless that is an absolute path. A
// destination that is a folder, or ends like one, takes the file under the name that it has at its source.
func (r *stepRun) keep(to string, c content) (string, error) {
	base := r.command.paths.downloads
	if filepath.IsAbs(to) {
		base = filepath.VolumeName(to) + string(filepath.Separator)
		to = strings.TrimLeft(strings.TrimPrefix(to, filepath.VolumeName(to)), `/\`)
	} else if err := os.MkdirAll(base, 0o700); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(base) // a link in a download cannot lead a later one out of the folder
	if err != nil {
		return "", err
	}
	defer root.Close()
	name := filepath.FromSlash(to)
	folder := to == "" || strings.HasSuffix(to, "/") || strings.HasSuffix(name, string(filepath.Separator))
	if name = filepath.Clean("." + string(filepath.Separator) + name); !filepath.IsLocal(name) {
		return "", fmt.Errorf("destinationPath %q leads out of the command's downloads", to)
	}
	if info, err := root.Stat(name); err == nil && info.IsDir() {
		folder = true
	}
	if folder {
		if c.name == "" || c.name != filepath.Base(c.name) || !filepath.IsLocal(c.name) || c.name == "." {
			return "", errors.New("the source has no file name: give destinationPath one")
		}
		name = filepath.Join(name, c.name)
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return "", err
	}
	part := name + ".oakum-part"
	if err := root.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) { // of a crash, or somebody else's in a folder of all
		return "", err
	}
	out, err := root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700) // later steps run scripts from here
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(c.body, maxContent+1))
	if err == nil && size > maxContent {
		err = fmt.Errorf("there are more than %d bytes", maxContent)
	}
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = root.Rename(part, name)
	}
	if err != nil {
		return "", errors.Join(err, ignoreMissing(root.Remove(part)))
	}
	return fmt.Sprintf("Content downloaded to %s (%d bytes, SHA-256 %s)\n", filepath.Join(base, name), size, hex.EncodeToString(sum.Sum(nil))), nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// fromBucket reads an object of a bucket of the server with the node's own credentials. Addresses of S3 name the same
// bucket and key here.
func (a *Agent) fromBucket(ctx context.Context, info sourceInfo) (content, error) {
	bucket, key, err := objectOf(info.Path, a.Endpoint())
	if err != nil {
		return content{}, err
	}
	creds, err := a.client.creds.get(ctx)
	if err != nil {
		return content{}, err
	}
	u := *a.client.endpoint
	u.Path, u.RawPath = "/"+bucket+"/"+key, "/"+url.PathEscape(bucket)+"/"+escapeKey(key)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return content{}, err
	}
	req.Header.Set("User-Agent", a.client.userAgent)
	req.Header.Set("X-Amz-Content-Sha256", sigv4.EmptyHash)
	sigv4.Sign(req, sigv4.EmptyHash, creds.Credentials, a.client.region, "s3", a.client.now())
	return answered(a.client.http, req, "s3://"+bucket+"/"+key, path.Base(key))
}

// objectOf reads the address of an object: s3://BUCKET/KEY, the server's own, or one of S3 with the bucket in its path or
// in its host name.
func objectOf(address, server string) (bucket, key string, err error) {
	u, err := url.Parse(address)
	if err != nil || address == "" {
		return "", "", fmt.Errorf("path %q is not the address of an object", address)
	}
	bucket, key, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	host := u.Hostname()
	own, err := url.Parse(server)
	switch label, rest, _ := strings.Cut(host, ".s3"); {
	case u.Scheme == "s3":
		bucket, key = u.Host, strings.TrimPrefix(u.Path, "/")
	case u.Scheme != "https" && u.Scheme != "http":
		bucket = ""
	case err == nil && strings.EqualFold(u.Host, own.Host):
	case !strings.HasSuffix(host, ".amazonaws.com"):
		return "", "", fmt.Errorf("%s is neither this server nor S3: use s3://BUCKET/KEY, or the source type HTTP", host)
	case strings.HasPrefix(host, "s3.") || strings.HasPrefix(host, "s3-"):
	case rest != "":
		bucket, key = label, strings.TrimPrefix(u.Path, "/")
	default:
		bucket = ""
	}
	if bucket == "" || key == "" || strings.HasSuffix(key, "/") {
		return "", "", fmt.Errorf("path %q does not name one object: folders are not downloaded", address)
	}
	return bucket, key, nil
}

// fromWeb reads a file from a web server.
func (a *Agent) fromWeb(ctx context.Context, info sourceInfo) (content, error) {
	u, err := url.Parse(info.URL)
	if err != nil || u.Host == "" {
		return content{}, fmt.Errorf("url %q is not an address", info.URL)
	}
	insecure := strings.EqualFold(document.Text(info.AllowInsecureDownload), "true")
	secure := func(u *url.URL) error {
		if u.Scheme == "https" || u.Scheme == "http" && insecure {
			return nil
		}
		return fmt.Errorf("%s is not encrypted: it is fetched only with allowInsecureDownload", u.Redacted())
	}
	if err := secure(u); err != nil {
		return content{}, err
	}
	if u.User != nil {
		return content{}, errors.New("the url holds credentials: give them as username and password")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return content{}, err
	}
	switch info.AuthMethod {
	case "", "None":
	case "Basic":
		req.SetBasicAuth(info.Username, info.Password)
	default:
		return content{}, fmt.Errorf("authMethod %q is not one of None, Basic", info.AuthMethod)
	}
	client := http.Client{Transport: &http.Transport{Proxy: a.sys.Proxy, DisableKeepAlives: true}}
	if a.cfg.Fetch != nil {
		client = *a.cfg.Fetch
	}
	client.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > 3 {
			return errors.New("more than three redirects")
		}
		if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
			return errors.New("a redirect leads to an address that is not encrypted")
		}
		return secure(r.URL)
	}
	name := path.Base(u.Path)
	if name == "/" || name == "." {
		name = ""
	}
	return answered(&client, req, u.Redacted(), name)
}

// fromDocument reads a document of the server.
func (f *frame) fromDocument(ctx context.Context, info sourceInfo) (content, error) {
	name, version := document.SplitVersion(info.Name)
	if name == "" {
		return content{}, errors.New("name is missing: it is that of a document")
	}
	in := &ssm.GetDocumentInput{Name: &name, DocumentFormat: new(string(document.JSON))}
	if version != "" {
		in.DocumentVersion = &version
	}
	var out ssm.GetDocumentOutput
	if err := f.agent.client.Call(ctx, "ssm", "GetDocument", in, &out); err != nil {
		return content{}, fmt.Errorf("get %s: %w", name, err)
	}
	return content{body: io.NopCloser(strings.NewReader(codec.Value(out.Content))), name: path.Base(name) + ".json"}, nil
}

// answered makes a request and returns its body. The server's own words are not shown: they are whoever's who runs it.
func answered(c *http.Client, req *http.Request, what, name string) (content, error) {
	res, err := c.Do(req)
	if err != nil {
		return content{}, fmt.Errorf("get %s: %w", what, unwrapURL(err))
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return content{}, fmt.Errorf("get %s: the server answered %s", what, res.Status)
	}
	return content{body: res.Body, name: name}, nil
}
