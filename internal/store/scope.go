package store

import (
	"context"

	"oakum.dev/iam"
)

// ScopeOf is the tenant of the call's authenticated principal.
func ScopeOf(ctx context.Context) Scope {
	p := iam.PrincipalFrom(ctx)
	return Scope{Account: p.Account, Region: p.Region}
}
