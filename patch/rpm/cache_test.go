package rpm

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/patch"
	"oakum.dev/patch/system"
	md "oakum.dev/repo/rpm"
)

// fill gives every field of v a value of its own.
func fill(v reflect.Value, n *int) {
	*n++
	switch at := v.Addr().Interface().(type) {
	case *time.Time:
		*at = time.Unix(int64(*n), 0).UTC()
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(int64(*n))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			value := reflect.New(v.Type().Elem()).Elem()
			fill(value, n)
			v.SetMapIndex(reflect.ValueOf(fmt.Sprint("key ", *n)), value)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	default:
		panic(v.Type().String())
	}
}

// TestCacheForgetsNothing fails for a field of what is kept of a node that the cache leaves out.
func TestCacheForgetsNothing(t *testing.T) {
	var want, got stored
	n := 0
	boot := want.Boot
	inv := &patch.Inventory{}
	for _, part := range []any{&inv.Packages, &inv.Repositories, &inv.NotApplicable, &inv.Degraded, &want.Suggestions, &want.Blocks} {
		fill(reflect.ValueOf(part).Elem(), &n)
	}
	// Of packages no more is kept than bootPackages says.
	boot = append(boot, md.Package{Name: "kernel", Arch: "x86_64", Epoch: "1", Version: "2", Release: "3", Installed: time.Unix(4, 0).UTC()})
	want.Inventory, want.Boot = inv, boot
	if f := reflect.TypeFor[patch.Inventory]().NumField(); f != 5 {
		t.Errorf("an inventory has %d fields: does the cache know the new one?", f)
	}
	file, key := filepath.Join(t.TempDir(), "x.cache"), sha256.Sum256(nil)
	system.WriteCache(file, key, want.cached)
	if !system.ReadCache(file, key, got.cached) {
		t.Fatal("the cache is not read")
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
