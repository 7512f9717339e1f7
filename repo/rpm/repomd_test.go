package rpm_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/repo/rpm"
)

const repomdXML = `<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
  <revision>1763800000</revision><tags><content>x</content></tags>
  <data type="primary">
    <checksum type="sha256">aa</checksum><open-checksum type="sha256">bb</open-checksum>
    <location href="repodata/aa-primary.xml.gz"/><timestamp>1763800001.25</timestamp><size>100</size><open-size>1000</open-size>
  </data>
  <data type='updateinfo'><location href="repodata/updateinfo.xml.zst"/></data>
</repomd>
`

func TestReadRepomd(t *testing.T) {
	t.Parallel()
	md, err := rpm.ReadRepomd(strings.NewReader(repomdXML))
	if err != nil {
		t.Fatal(err)
	}
	want := &rpm.Repomd{Revision: "1763800000", Data: []rpm.Data{
		{Type: "primary", Location: "repodata/aa-primary.xml.gz", Checksum: "aa", ChecksumType: "sha256", Bytes: 100, OpenBytes: 1000, Timestamp: time.Unix(1763800001, 0).UTC()},
		{Type: "updateinfo", Location: "repodata/updateinfo.xml.zst"},
	}}
	if diff := cmp.Diff(want, md); diff != "" {
		t.Errorf("ReadRepomd (-want +got):\n%s", diff)
	}
	if md.Find("updateinfo") != &md.Data[1] || md.Find("modules") != nil {
		t.Error("Find")
	}
}

func TestReadRepomdRefusesToLeaveTheRepository(t *testing.T) {
	t.Parallel()
	at := func(attr string) error {
		_, err := rpm.ReadRepomd(strings.NewReader("<repomd><data type='primary'><location " + attr + "/></data></repomd>"))
		return err
	}
	for _, bad := range []string{
		"href='../x'", "href='a/../../x'", "href='/etc/passwd'", "href='http://h/x'", "href='file:///x'", "href='..'", "href=''", "", "href='.'",
		"href='%2e%2e/x'", "href='%2Fetc/passwd'", `href='a\..\x'`, "href='a&#x2f;..&#x2f;..&#x2f;x'", "xml:base='http://h/' href='../x'",
	} {
		if err := at(bad); err == nil || !strings.Contains(err.Error(), "outside of the repository") {
			t.Errorf("location %s: %v", bad, err)
		}
	}
	for _, good := range []string{"href='x'", "href='repodata/x-1:2.gz'", "href='a/../x'", "href='a..b/x'", "href='100%/x'", "xml:base='http://h/' href='x'"} {
		if err := at(good); err != nil {
			t.Errorf("location %s: %v", good, err)
		}
	}
	if _, err := rpm.ReadRepomd(strings.NewReader("<repomd>" + strings.Repeat("<data type='a'><location href='x'/></data>", 2000) + "</repomd>")); err == nil {
		t.Error("2,000 files are no error")
	}
}

// FuzzReadRepomd must never answer with a location outside of the repository.
func FuzzReadRepomd(f *testing.F) {
	f.Add([]byte(repomdXML))
	f.Fuzz(func(t *testing.T, b []byte) {
		md, err := rpm.ReadRepomd(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, d := range md.Data {
			for _, part := range strings.Split(d.Location, "/")[:1] {
				if part == ".." || part == "" {
					t.Errorf("location %q", d.Location)
				}
			}
		}
	})
}
