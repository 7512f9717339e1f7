// Package page gives services keyset pagination: opaque tokens that carry the last key of a page and are
// bound to the caller, the operation and its other parameters. Start with Book.Open.
package page

import (
	"context"

	"oakum.dev/iam"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// Book makes and reads the page tokens of an installation.
type Book struct{ Pager *codec.Pager }

// Page is one page of a listing: where it starts and how many rows it may hold.
type Page struct {
	Key  []string // the last row's key of the page before; nil for the first page
	Size int

	book    Book
	binding codec.Binding
}

// Open reads the token of a request. max is MaxResults, def the size when it is absent. A token that is broken
// or belongs to another question is InvalidNextToken.
func (b Book) Open(ctx context.Context, operation string, in codec.Encodable, token *string, maxResults *int64, def int) (*Page, error) {
	p := iam.PrincipalFrom(ctx)
	g := &Page{Size: def, book: b, binding: codec.Binding{Operation: operation, Account: p.Account, Region: p.Region, Input: in}}
	if maxResults != nil {
		g.Size = int(*maxResults)
	}
	c, err := b.Pager.Cursor(g.binding, token)
	if err != nil {
		return nil, ssm.InvalidNextToken("The specified token isn't valid.")
	}
	if c != nil {
		g.Key = c.Key
	}
	return g, nil
}

// At returns part i of the page's key, "" on the first page.
func (p *Page) At(i int) string {
	if i < len(p.Key) {
		return p.Key[i]
	}
	return ""
}

// Next returns the token of the page that follows the row with the given key.
func (p *Page) Next(key ...string) *string {
	return p.book.Pager.Token(p.binding, codec.Cursor{Key: key})
}

// Cut shortens rows to the page's size and returns the token for the rest, nil when nothing is left. Callers
// read one row more than the page holds.
func Cut[T any](p *Page, rows []T, key func(T) []string) ([]T, *string) {
	if len(rows) <= p.Size {
		return rows, nil
	}
	rows = rows[:p.Size]
	return rows, p.Next(key(rows[len(rows)-1])...)
}

// Slice pages a list that is in memory, by position in its order: rows after the one whose key is the page's.
func Slice[T any](p *Page, rows []T, key func(T) string) ([]T, *string) {
	if after := p.At(0); after != "" {
		for i, r := range rows {
			if key(r) > after {
				rows = rows[i:]
				return Cut(p, rows, func(r T) []string { return []string{key(r)} })
			}
		}
		return nil, nil
	}
	return Cut(p, rows, func(r T) []string { return []string{key(r)} })
}
