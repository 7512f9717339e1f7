package cli

import (
	"bufio"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"oakum.dev/awserr"
	"oakum.dev/wire/sigv4"
)

func newS3Command(s *Streams) *cobra.Command {
	cmd, o := clientCommand(group(&cobra.Command{
		Use:   "s3",
		Short: "Read the server's buckets: command output, reports, snapshots",
	}))
	cp := &cobra.Command{
		Use:     "cp s3://BUCKET/KEY FILE|-",
		Short:   "Copy an object to a file, a folder or, with -, to the standard output",
		Example: "  oakum s3 cp s3://logs/3f2c/mi-0123456789abcdef0/awsrunShellScript/PatchLinux/stdout -",
		Args:    argRange(2, 2, "s3://BUCKET/KEY FILE"),
	}
	cp.RunE = func(cmd *cobra.Command, args []string) error {
		bucket, key, err := objectName(args[0])
		if err != nil {
			return err
		}
		if bucket == "" || key == "" || strings.HasSuffix(key, "/") {
			return usage("%s names no object: it is s3://BUCKET/KEY", args[0])
		}
		c, err := o.connect(cmd.Context(), "s3")
		if err != nil {
			return err
		}
		return c.explain(copyObject(cmd.Context(), s, o, c, bucket, key, args[1]))
	}
	ls := &cobra.Command{
		Use: "ls [s3://BUCKET[/PREFIX]]", Short: "List buckets, or the objects of one", Args: argRange(0, 1, "s3://BUCKET"),
	}
	all := ls.Flags().BoolP("recursive", "r", false, "list what is below folders too")
	ls.RunE = func(cmd *cobra.Command, args []string) error {
		bucket, prefix := "", ""
		if len(args) == 1 {
			var err error
			if bucket, prefix, err = objectName(args[0]); err != nil {
				return err
			}
		}
		c, err := o.connect(cmd.Context(), "s3")
		if err != nil {
			return err
		}
		if bucket == "" {
			return c.explain(listBuckets(cmd.Context(), s, o, c))
		}
		return c.explain(listObjects(cmd.Context(), s, o, c, bucket, prefix, *all))
	}
	quietly(cp)
	quietly(ls)
	cmd.AddCommand(cp, ls)
	return cmd
}

func objectName(text string) (bucket, key string, err error) {
	rest, ok := strings.CutPrefix(text, "s3://")
	if !ok {
		return "", "", usage("%q does not begin with s3://", text)
	}
	bucket, key, _ = strings.Cut(rest, "/")
	return bucket, key, nil
}

// getObject asks for a path of the S3 API. The caller closes the body.
func (c *Client) getObject(ctx context.Context, bucket, key string, q url.Values) (*http.Response, error) {
	u := *c.Endpoint
	u.Path = strings.TrimRight(u.Path, "/") + "/" + bucket
	if key != "" {
		u.Path += "/" + key
	}
	u.RawPath = escapeKey(u.Path)
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	res, err := c.send(req, sigv4.EmptyHash, "s3")
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	var e struct {
		Code    string
		Message string
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil || xml.Unmarshal(b, &e) != nil || e.Code == "" {
		return nil, fmt.Errorf("%s answered %s, which no Oakum server would", c.Endpoint.Host, res.Status)
	}
	switch e.Code {
	case "NoSuchKey":
		return nil, failed(hinted(fmt.Sprintf("there is no object s3://%s/%s", bucket, key), fmt.Sprintf(`"oakum s3 ls s3://%s --recursive" lists the objects`, bucket)))
	case "NoSuchBucket":
		return nil, failed(hinted("there is no bucket "+bucket, `"oakum s3 ls" lists the buckets`))
	}
	return nil, &awserr.Error{Code: e.Code, Message: e.Message, Status: res.StatusCode}
}

// escapeKey escapes a path as S3 signatures expect it: everything but unreserved characters and slashes.
func escapeKey(p string) string {
	var b strings.Builder
	for i := range len(p) {
		c := p[i]
		if c == '/' || c == '-' || c == '_' || c == '.' || c == '~' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func copyObject(ctx context.Context, s *Streams, o *clientOptions, c *Client, bucket, key, to string) (err error) {
	res, err := c.getObject(ctx, bucket, key, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if to == "-" {
		_, err := io.Copy(s.Out, res.Body)
		return err
	}
	if st, err := os.Stat(to); err == nil && st.IsDir() || strings.HasSuffix(to, "/") {
		to = filepath.Join(to, path.Base(key))
	}
	tmp, err := os.CreateTemp(filepath.Dir(to), ".oakum-*")
	if err != nil {
		return failed(err)
	}
	n, err := io.Copy(tmp, res.Body)
	if err == nil && res.ContentLength >= 0 && n != res.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), to)
	}
	if err != nil {
		return failed(errors.Join(err, os.Remove(tmp.Name())))
	}
	o.say(s, "copied s3://%s/%s to %s (%s)", bucket, key, to, sizeText(n))
	return nil
}

func sizeText(n int64) string {
	if n < 1024 {
		return plural(n, "byte", "bytes")
	}
	f, unit := float64(n)/1024, "KiB"
	for _, u := range []string{"MiB", "GiB", "TiB"} {
		if f < 1024 {
			break
		}
		f, unit = f/1024, u
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}

type bucketList struct {
	Buckets []s3Bucket `xml:"Buckets>Bucket"`
}

type s3Bucket struct{ Name, CreationDate string }

func listBuckets(ctx context.Context, s *Streams, o *clientOptions, c *Client) error {
	res, err := c.getObject(ctx, "", "", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	list := bucketList{Buckets: []s3Bucket{}}
	if err := xml.NewDecoder(res.Body).Decode(&list); err != nil {
		return fmt.Errorf("read the list of buckets: %w", err)
	}
	rows := [][]string{{"Name", "CreationDate"}}
	for _, b := range list.Buckets {
		rows = append(rows, []string{b.Name, b.CreationDate})
	}
	switch o.output {
	case "json":
		return writeJSON(s.Out, list)
	case "csv":
		return writeCSV(s.Out, rows)
	}
	if len(list.Buckets) == 0 {
		o.say(s, "no buckets; one comes into being with its first object")
		return nil
	}
	w := bufio.NewWriter(s.Out)
	for _, b := range list.Buckets {
		fmt.Fprintf(w, "s3://%s\n", b.Name)
	}
	return w.Flush()
}

type objectList struct {
	Contents       []s3Object
	CommonPrefixes []s3Prefix
}

type s3Object struct {
	Key, LastModified, ETag string
	Size                    int64
}

type s3Prefix struct{ Prefix string }

func listObjects(ctx context.Context, s *Streams, o *clientOptions, c *Client, bucket, prefix string, all bool) error {
	list := objectList{Contents: []s3Object{}}
	q := url.Values{"list-type": {"2"}, "prefix": {prefix}}
	if !all {
		q.Set("delimiter", "/")
	}
	for {
		var page struct {
			objectList
			NextContinuationToken string
		}
		res, err := c.getObject(ctx, bucket, "", q)
		if err != nil {
			return err
		}
		err = xml.NewDecoder(res.Body).Decode(&page)
		res.Body.Close()
		if err != nil {
			return fmt.Errorf("read the list of objects: %w", err)
		}
		list.Contents = append(list.Contents, page.Contents...)
		list.CommonPrefixes = append(list.CommonPrefixes, page.CommonPrefixes...)
		if page.NextContinuationToken == "" {
			break
		}
		q.Set("continuation-token", page.NextContinuationToken)
	}
	switch o.output {
	case "json":
		return writeJSON(s.Out, list)
	case "csv":
		rows := [][]string{{"Key", "LastModified", "Size"}}
		for _, x := range list.Contents {
			rows = append(rows, []string{x.Key, x.LastModified, fmt.Sprint(x.Size)})
		}
		return writeCSV(s.Out, rows)
	}
	rows := [][]string{{"OBJECT", "SIZE", "MODIFIED"}}
	for _, p := range list.CommonPrefixes {
		rows = append(rows, []string{"s3://" + bucket + "/" + p.Prefix, "", ""})
	}
	for _, x := range list.Contents {
		rows = append(rows, []string{"s3://" + bucket + "/" + x.Key, sizeText(x.Size), x.LastModified})
	}
	if len(rows) == 1 {
		o.say(s, "nothing there")
		return nil
	}
	o.table(s, rows)
	return nil
}
