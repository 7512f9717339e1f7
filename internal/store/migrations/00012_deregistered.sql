-- +goose Up
-- Servers beside each other look for nodes that another one has deregistered a moment ago.
CREATE INDEX node_deregistered ON node (deregistered_at) WHERE deregistered_at > 0;
