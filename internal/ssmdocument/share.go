package ssmdocument

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// ModifyDocumentPermission shares a document with accounts or with everybody, and ends shares. Either takes the place of
// the other: Terraform adds what is new before it removes what was there.
func (s *Service) ModifyDocumentPermission(ctx context.Context, in *ssm.ModifyDocumentPermissionInput) (*ssm.ModifyDocumentPermissionOutput, error) {
	sc := store.ScopeOf(ctx)
	r, err := own(sc, codec.Value(in.Name))
	if err != nil {
		return nil, err
	}
	version := codec.Value(in.SharedDocumentVersion)
	if version == "" {
		version = "$DEFAULT"
	}
	add, remove := accounts(in.AccountIdsToAdd), accounts(in.AccountIdsToRemove)
	public := slices.Contains(add, everybody)
	if public && slices.ContainsFunc(add, func(id string) bool { return id != everybody }) {
		return nil, ssm.DocumentPermissionLimit("Accounts can either be all or a group of AWS accounts")
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := lock(tx, r); err != nil {
			return err
		}
		if public && s.PublicSharing != nil {
			if ok, err := s.PublicSharing(tx, sc); err != nil {
				return err
			} else if !ok {
				return ssm.DocumentPermissionLimit("Public sharing of documents is blocked by a service setting of this account and region.")
			}
		}
		before, err := tx.DocumentShares(sc, r.name, 0, maxAccounts)
		if err != nil {
			return err
		}
		for _, sh := range before {
			if slices.Contains(remove, sh.With) || len(add) > 0 && (sh.With == everybody) != public {
				if err := tx.DeleteDocumentShare(sc, r.name, sh.With); err != nil {
					return err
				}
			}
		}
		for _, id := range add {
			if err := tx.PutDocumentShare(store.DocumentShare{Account: sc.Account, Region: sc.Region, Name: r.name, With: id, Version: version}); err != nil {
				return err
			}
		}
		if len(add) == 0 {
			return nil
		}
		return checkShares(tx, sc, r.name, public)
	})
	if err != nil {
		return nil, err
	}
	return nil, nil
}

// accounts are ids in the form in which they are kept.
func accounts(ids []string) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = strings.ToLower(id)
	}
	return out
}

// checkShares refuses what sharing may not lead to.
func checkShares(tx *store.Tx, sc store.Scope, name string, public bool) error {
	list, err := tx.DocumentShares(sc, name, 0, maxAccounts+1)
	if err != nil {
		return err
	}
	if len(list) > maxAccounts {
		return ssm.DocumentPermissionLimit("The document can't be shared with more accounts: %d at most.", maxAccounts)
	}
	if !public {
		return nil
	}
	n, err := tx.PublicDocumentCount(sc)
	if err == nil && n > maxPublic {
		return ssm.DocumentPermissionLimit("At most %d documents of an account and region can be shared with everybody.", maxPublic)
	}
	return err
}

// DescribeDocumentPermission lists with whom a document is shared, in the order in which that was said: Terraform compares
// it with what was written. Without MaxResults a page holds the most that the range allows: Terraform reads only one.
func (s *Service) DescribeDocumentPermission(ctx context.Context, in *ssm.DescribeDocumentPermissionInput) (*ssm.DescribeDocumentPermissionOutput, error) {
	sc := store.ScopeOf(ctx)
	r, err := own(sc, codec.Value(in.Name))
	if err != nil {
		return nil, err
	}
	pg, err := s.pages.Open(ctx, "DescribeDocumentPermission", in, in.NextToken, in.MaxResults, 200)
	if err != nil {
		return nil, err
	}
	out := &ssm.DescribeDocumentPermissionOutput{AccountIds: []string{}, AccountSharingInfoList: []ssm.AccountSharingInfo{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		if _, err := tx.Document(sc, r.name); errors.Is(err, store.ErrNotFound) {
			return notFound(r.name)
		} else if err != nil {
			return err
		}
		after, _ := strconv.ParseInt(pg.At(0), 10, 64) // 0 on the first page
		rows, err := tx.DocumentShares(sc, r.name, after, pg.Size+1)
		if err != nil {
			return err
		}
		if len(rows) > pg.Size {
			rows = rows[:pg.Size]
			out.NextToken = pg.Next(strconv.FormatInt(rows[len(rows)-1].Position, 10))
		}
		for _, sh := range rows {
			out.AccountIds = append(out.AccountIds, sh.With)
			out.AccountSharingInfoList = append(out.AccountSharingInfoList, ssm.AccountSharingInfo{AccountId: &sh.With, SharedDocumentVersion: &sh.Version})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
