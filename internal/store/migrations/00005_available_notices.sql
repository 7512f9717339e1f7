-- +goose Up
-- What update notices say of a version, as JSON: rpm systems.
ALTER TABLE available_patch ADD COLUMN notices TEXT NOT NULL DEFAULT '';
