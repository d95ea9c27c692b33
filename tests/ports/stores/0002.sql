BEGIN TRANSACTION;
CREATE TABLE access_token (
	id TEXT NOT NULL, 
	hash TEXT, 
	holder TEXT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE alert (
	id TEXT NOT NULL, 
	endpoint TEXT, 
	kind TEXT, 
	status TEXT, 
	raised_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE alias (
	model TEXT NOT NULL, 
	alias TEXT NOT NULL, 
	since_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (model, alias)
);
CREATE TABLE alias_move (
	model TEXT NOT NULL, 
	alias TEXT NOT NULL, 
	move TEXT NOT NULL, 
	at_us BIGINT, 
	number BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (model, alias, move)
);
CREATE TABLE approval (
	model TEXT NOT NULL, 
	number TEXT NOT NULL, 
	at_us TEXT NOT NULL, 
	decision TEXT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (model, number, at_us)
);
CREATE TABLE artifact_file (
	root TEXT NOT NULL, 
	path TEXT NOT NULL, 
	digest TEXT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (root, path)
);
CREATE TABLE audit (
	position BIGINT NOT NULL, 
	previous TEXT NOT NULL, 
	hash TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (position)
);
INSERT INTO "audit" VALUES(1,'','a8c0c14654afc9b6cfb0b6ddae6ebc17e3e20997b0fd89e78b9ca048bcb40761','{"actor":"owner","action":"source.add","subject":"sales","at_us":1373860800000000,"body":{},"position":1,"previous":"","hash":""}');
INSERT INTO "audit" VALUES(2,'a8c0c14654afc9b6cfb0b6ddae6ebc17e3e20997b0fd89e78b9ca048bcb40761','088a41f679eaca200bdb47cc758081cf00c6e4ff3d91061f140c8c54ade3c931','{"actor":"owner","action":"feature_view.add","subject":"newest","at_us":1373860800000000,"body":{"version":1},"position":2,"previous":"a8c0c14654afc9b6cfb0b6ddae6ebc17e3e20997b0fd89e78b9ca048bcb40761","hash":""}');
INSERT INTO "audit" VALUES(3,'088a41f679eaca200bdb47cc758081cf00c6e4ff3d91061f140c8c54ade3c931','a3f40ff4ee761eacdafa7c43b804668bb66c9ad6b0c13fb656b2833e579b6957','{"actor":"owner","action":"feature_view.add","subject":"windows","at_us":1373860800000000,"body":{"version":1},"position":3,"previous":"088a41f679eaca200bdb47cc758081cf00c6e4ff3d91061f140c8c54ade3c931","hash":""}');
INSERT INTO "audit" VALUES(4,'a3f40ff4ee761eacdafa7c43b804668bb66c9ad6b0c13fb656b2833e579b6957','7946561c0575ab3252e4b3bf4705f17de0af294dd7f85758df558ca806903d29','{"actor":"owner","action":"feature_service.add","subject":"s","at_us":1373860800000000,"body":{},"position":4,"previous":"a3f40ff4ee761eacdafa7c43b804668bb66c9ad6b0c13fb656b2833e579b6957","hash":""}');
CREATE TABLE cursor (
	consumer TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (consumer)
);
INSERT INTO "cursor" VALUES('catalog','{"consumer":"catalog","position":1}');
INSERT INTO "cursor" VALUES('flush-start/sales/0000000000000001.seg','{"consumer":"flush-start/sales/0000000000000001.seg","position":255}');
INSERT INTO "cursor" VALUES('flush-end/sales/0000000000000001.seg','{"consumer":"flush-end/sales/0000000000000001.seg","position":306}');
INSERT INTO "cursor" VALUES('flush-entries/sales/0000000000000001.seg','{"consumer":"flush-entries/sales/0000000000000001.seg","position":1}');
INSERT INTO "cursor" VALUES('arrived/sales/push/0000000000000001.seg','{"consumer":"arrived/sales/push/0000000000000001.seg","position":306}');
INSERT INTO "cursor" VALUES('materialized-at/newest/764217f54f391581','{"consumer":"materialized-at/newest/764217f54f391581","position":1373860800000000}');
INSERT INTO "cursor" VALUES('materialized-version/newest/764217f54f391581','{"consumer":"materialized-version/newest/764217f54f391581","position":0}');
INSERT INTO "cursor" VALUES('materialized-keys/newest/764217f54f391581','{"consumer":"materialized-keys/newest/764217f54f391581","position":1}');
INSERT INTO "cursor" VALUES('materialized-at/windows/7613c3b8e60265e3','{"consumer":"materialized-at/windows/7613c3b8e60265e3","position":1373860800000000}');
INSERT INTO "cursor" VALUES('materialized-version/windows/7613c3b8e60265e3','{"consumer":"materialized-version/windows/7613c3b8e60265e3","position":0}');
INSERT INTO "cursor" VALUES('materialized-keys/windows/7613c3b8e60265e3','{"consumer":"materialized-keys/windows/7613c3b8e60265e3","position":6}');
INSERT INTO "cursor" VALUES('loop','{"consumer":"loop","position":3}');
CREATE TABLE dataset (
	name TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE dataset_version (
	name TEXT NOT NULL, 
	number TEXT NOT NULL, 
	created_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name, number)
);
CREATE TABLE deployed (
	pipeline TEXT NOT NULL, 
	environment TEXT NOT NULL, 
	since_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (pipeline, environment)
);
CREATE TABLE edges (
	cause TEXT NOT NULL, 
	effect TEXT NOT NULL, 
	at_us BIGINT NOT NULL, 
	PRIMARY KEY (cause, effect)
)
 WITHOUT ROWID

;
CREATE TABLE endpoint (
	name TEXT NOT NULL, 
	model TEXT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE events (
	position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	body TEXT NOT NULL
);
INSERT INTO "events" VALUES(1,'{"kind":"data.arrived","subject":"sales","at_us":1373860800000000,"body":{"rows":5},"position":0}');
INSERT INTO "events" VALUES(2,'{"kind":"data.arrived","subject":"sales","at_us":1373860800000000,"body":{"rows":1},"position":0}');
CREATE TABLE experiment_tags (
	experiment TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (experiment, "key")
)
 WITHOUT ROWID

;
CREATE TABLE experiments (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	project TEXT NOT NULL, 
	created_us BIGINT NOT NULL, 
	updated_us BIGINT NOT NULL, 
	deleted_us BIGINT, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
CREATE TABLE feature_service (
	name TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "feature_service" VALUES('s','{"name":"s","views":[{"type":"FeatureView","name":"newest","entities":[{"name":"shop","join_keys":["shop"],"description":"","owner":"","tags":{}}],"source":{"name":"sales","fields":{"amount":"float","at":"timestamp","id":"int","shop":"string"},"timestamp_field":"at","id_field":"id","path":null,"owner":"","description":"","created_field":null,"url":null,"query":null,"watermark":null,"lateness":"0s","contract":null,"tags":{}},"features":{"amount":{"sql":"amount","aggregation":null,"window":null}},"ttl":"2h","hop":"15m","owner":"","description":"","tags":{},"descriptions":{}},{"type":"FeatureView","name":"windows","entities":[{"name":"shop","join_keys":["shop"],"description":"","owner":"","tags":{}}],"source":{"name":"sales","fields":{"amount":"float","at":"timestamp","id":"int","shop":"string"},"timestamp_field":"at","id_field":"id","path":null,"owner":"","description":"","created_field":null,"url":null,"query":null,"watermark":null,"lateness":"0s","contract":null,"tags":{}},"features":{"n":{"sql":"1","aggregation":"count","window":"3h"}},"ttl":null,"hop":"15m","owner":"","description":"","tags":{},"descriptions":{}}],"owner":"","description":"","tags":{},"selected":[]}');
CREATE TABLE feature_view (
	name TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "feature_view" VALUES('newest','{"type":"FeatureView","name":"newest","entities":[{"name":"shop","join_keys":["shop"],"description":"","owner":"","tags":{}}],"source":{"name":"sales","fields":{"amount":"float","at":"timestamp","id":"int","shop":"string"},"timestamp_field":"at","id_field":"id","path":null,"owner":"","description":"","created_field":null,"url":null,"query":null,"watermark":null,"lateness":"0s","contract":null,"tags":{}},"features":{"amount":{"sql":"amount","aggregation":null,"window":null}},"ttl":"2h","hop":"15m","owner":"","description":"","tags":{},"descriptions":{}}');
INSERT INTO "feature_view" VALUES('windows','{"type":"FeatureView","name":"windows","entities":[{"name":"shop","join_keys":["shop"],"description":"","owner":"","tags":{}}],"source":{"name":"sales","fields":{"amount":"float","at":"timestamp","id":"int","shop":"string"},"timestamp_field":"at","id_field":"id","path":null,"owner":"","description":"","created_field":null,"url":null,"query":null,"watermark":null,"lateness":"0s","contract":null,"tags":{}},"features":{"n":{"sql":"1","aggregation":"count","window":"3h"}},"ttl":null,"hop":"15m","owner":"","description":"","tags":{},"descriptions":{}}');
CREATE TABLE feature_view_version (
	name TEXT NOT NULL, 
	number TEXT NOT NULL, 
	created_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name, number)
);
INSERT INTO "feature_view_version" VALUES('newest','00000000000000000001',1373860800000000,'{"name":"newest","number":1,"view":{"type":"FeatureView","name":"newest","entities":[{"name":"shop","join_keys":["shop"],"description":"","owner":"","tags":{}}],"source":{"name":"sales","fields":{"amount":"float","at":"timestamp","id":"int","shop":"string"},"timestamp_field":"at","id_field":"id","path":null,"owner":"","description":"","created_field":null,"url":null,"query":null,"watermark":null,"lateness":"0s","contract":null,"tags":{}},"features":{"amount":{"sql":"amount","aggregation":null,"window":null}},"ttl":"2h","hop":"15m","owner":"","description":"","tags":{},"descriptions":{}},"created_us":1373860800000000,"retired_us":null}');
INSERT INTO "feature_view_version" VALUES('windows','00000000000000000001',1373860800000000,'{"name":"windows","number":1,"view":{"type":"FeatureView","name":"windows","entities":[{"name":"shop","join_keys":["shop"],"description":"","owner":"","tags":{}}],"source":{"name":"sales","fields":{"amount":"float","at":"timestamp","id":"int","shop":"string"},"timestamp_field":"at","id_field":"id","path":null,"owner":"","description":"","created_field":null,"url":null,"query":null,"watermark":null,"lateness":"0s","contract":null,"tags":{}},"features":{"n":{"sql":"1","aggregation":"count","window":"3h"}},"ttl":null,"hop":"15m","owner":"","description":"","tags":{},"descriptions":{}},"created_us":1373860800000000,"retired_us":null}');
CREATE TABLE hold (
	node TEXT NOT NULL, 
	at_us TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (node, at_us)
);
CREATE TABLE ingestion (
	source TEXT NOT NULL, 
	number TEXT NOT NULL, 
	status TEXT, 
	at_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (source, number)
);
CREATE TABLE intake (
	source TEXT NOT NULL, 
	writer TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (source, writer)
);
CREATE TABLE logged_model (
	id TEXT NOT NULL, 
	experiment TEXT, 
	run TEXT, 
	created_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE metric_points (
	run BIGINT NOT NULL, 
	"key" TEXT NOT NULL, 
	step BIGINT NOT NULL, 
	at_us BIGINT NOT NULL, 
	rank BIGINT NOT NULL, 
	PRIMARY KEY (run, "key", step, at_us, rank)
)
 WITHOUT ROWID

;
CREATE TABLE model_card (
	model TEXT NOT NULL, 
	number TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (model, number)
);
CREATE TABLE model_version (
	model TEXT NOT NULL, 
	number TEXT NOT NULL, 
	created_us BIGINT, 
	status TEXT, 
	run TEXT, 
	owner TEXT, 
	experiment_run TEXT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (model, number)
);
CREATE TABLE monitor (
	endpoint_name TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (endpoint_name)
);
CREATE TABLE monitor_slice (
	endpoint TEXT NOT NULL, 
	start_us TEXT NOT NULL, 
	end_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (endpoint, start_us)
);
CREATE TABLE note (
	node TEXT NOT NULL, 
	at_us TEXT NOT NULL, 
	author TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (node, at_us, author)
);
CREATE TABLE on_demand_feature_view (
	name TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE pickle_allowance (
	model TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (model)
);
CREATE TABLE pipeline_release (
	digest TEXT NOT NULL, 
	project TEXT, 
	created_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (digest)
);
CREATE TABLE registered_model (
	name TEXT NOT NULL, 
	project TEXT, 
	owner TEXT, 
	updated_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE release (
	endpoint TEXT NOT NULL, 
	revision TEXT NOT NULL, 
	since_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (endpoint, revision)
);
CREATE TABLE release_policy (
	model TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (model)
);
CREATE TABLE review_request (
	model TEXT NOT NULL, 
	number TEXT NOT NULL, 
	at_us TEXT NOT NULL, 
	state TEXT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (model, number, at_us)
);
CREATE TABLE risk_answer (
	model TEXT NOT NULL, 
	number TEXT NOT NULL, 
	question TEXT NOT NULL, 
	at_us TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (model, number, question, at_us)
);
CREATE TABLE rollout (
	id TEXT NOT NULL, 
	endpoint TEXT, 
	state TEXT, 
	started_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE rota_schema (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "rota_schema" VALUES(2);
CREATE TABLE run_inputs (
	run BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	context TEXT, 
	position BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (run, name, digest)
)
 WITHOUT ROWID

;
CREATE TABLE run_metrics (
	run BIGINT NOT NULL, 
	"key" TEXT NOT NULL, 
	experiment TEXT NOT NULL, 
	value DOUBLE, 
	step BIGINT NOT NULL, 
	at_us BIGINT NOT NULL, 
	PRIMARY KEY (run, "key")
)
 WITHOUT ROWID

;
CREATE TABLE run_outputs (
	run BIGINT NOT NULL, 
	model TEXT NOT NULL, 
	step BIGINT NOT NULL, 
	position BIGINT NOT NULL, 
	PRIMARY KEY (run, model)
)
 WITHOUT ROWID

;
CREATE TABLE run_parameters (
	run BIGINT NOT NULL, 
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	rest TEXT NOT NULL, 
	PRIMARY KEY (run, "key")
)
 WITHOUT ROWID

;
CREATE TABLE run_tags (
	run BIGINT NOT NULL, 
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	rest TEXT NOT NULL, 
	PRIMARY KEY (run, "key")
)
 WITHOUT ROWID

;
CREATE TABLE runs (
	position INTEGER NOT NULL, 
	id TEXT NOT NULL, 
	workflow TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	arguments TEXT NOT NULL, 
	created_us BIGINT NOT NULL, 
	"trigger" TEXT NOT NULL, 
	status TEXT NOT NULL, 
	started_us BIGINT, 
	ended_us BIGINT, 
	wake_us BIGINT NOT NULL, 
	waiting_for TEXT NOT NULL, 
	worker TEXT NOT NULL, 
	fence BIGINT NOT NULL, 
	attempts BIGINT NOT NULL, 
	result TEXT NOT NULL, 
	error TEXT NOT NULL, 
	ended BOOLEAN NOT NULL, 
	signalled BOOLEAN NOT NULL, 
	lease_until DOUBLE NOT NULL, 
	PRIMARY KEY (position), 
	UNIQUE (id)
);
CREATE TABLE schedule_state (
	name TEXT NOT NULL, 
	last_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE schema (
	name TEXT NOT NULL, 
	version TEXT NOT NULL, 
	frozen_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name, version)
);
CREATE TABLE seen_file (
	source TEXT NOT NULL, 
	file TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (source, file)
);
CREATE TABLE serving (
	endpoint TEXT NOT NULL, 
	process TEXT NOT NULL, 
	at_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (endpoint, process)
);
CREATE TABLE signals (
	run TEXT NOT NULL, 
	name TEXT NOT NULL, 
	payload TEXT NOT NULL, 
	PRIMARY KEY (run, name)
);
CREATE TABLE source (
	name TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "source" VALUES('sales','{"name":"sales","fields":{"amount":"float","at":"timestamp","id":"int","shop":"string"},"timestamp_field":"at","id_field":"id","path":null,"owner":"","description":"","created_field":null,"url":null,"query":null,"watermark":null,"lateness":"0s","contract":null,"tags":{}}');
CREATE TABLE steps (
	run TEXT NOT NULL, 
	name TEXT NOT NULL, 
	position BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (run, name)
);
CREATE TABLE tracked_runs (
	"key" INTEGER NOT NULL, 
	id TEXT NOT NULL, 
	experiment TEXT NOT NULL, 
	name TEXT NOT NULL, 
	status TEXT NOT NULL, 
	owner TEXT NOT NULL, 
	parent TEXT NOT NULL, 
	started_us BIGINT NOT NULL, 
	ended_us BIGINT, 
	deleted_us BIGINT, 
	source TEXT NOT NULL, 
	PRIMARY KEY ("key"), 
	UNIQUE (id)
);
CREATE TABLE unclaimed (
	"table" TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY ("table")
);
CREATE TABLE use_case (
	name TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE INDEX ingestion_status ON ingestion (status);
CREATE INDEX ingestion_at_us ON ingestion (at_us);
CREATE INDEX feature_view_version_created_us ON feature_view_version (created_us);
CREATE INDEX schema_frozen_us ON schema (frozen_us);
CREATE INDEX dataset_version_created_us ON dataset_version (created_us);
CREATE INDEX pipeline_release_project ON pipeline_release (project);
CREATE INDEX pipeline_release_created_us ON pipeline_release (created_us);
CREATE INDEX deployed_since_us ON deployed (since_us);
CREATE INDEX logged_model_run ON logged_model (run);
CREATE INDEX logged_model_experiment ON logged_model (experiment);
CREATE INDEX logged_model_created_us ON logged_model (created_us);
CREATE INDEX artifact_file_digest ON artifact_file (digest);
CREATE INDEX registered_model_owner ON registered_model (owner);
CREATE INDEX registered_model_updated_us ON registered_model (updated_us);
CREATE INDEX registered_model_project ON registered_model (project);
CREATE INDEX model_version_status ON model_version (status);
CREATE INDEX model_version_created_us ON model_version (created_us);
CREATE INDEX model_version_run ON model_version (run);
CREATE INDEX model_version_owner ON model_version (owner);
CREATE INDEX model_version_experiment_run ON model_version (experiment_run);
CREATE INDEX alias_since_us ON alias (since_us);
CREATE INDEX alias_move_at_us ON alias_move (at_us);
CREATE INDEX alias_move_number ON alias_move (number);
CREATE INDEX review_request_state ON review_request (state);
CREATE INDEX approval_decision ON approval (decision);
CREATE INDEX endpoint_model ON endpoint (model);
CREATE INDEX release_since_us ON release (since_us);
CREATE INDEX serving_at_us ON serving (at_us);
CREATE INDEX rollout_started_us ON rollout (started_us);
CREATE INDEX rollout_state ON rollout (state);
CREATE INDEX rollout_endpoint ON rollout (endpoint);
CREATE INDEX alert_kind ON alert (kind);
CREATE INDEX alert_raised_us ON alert (raised_us);
CREATE INDEX alert_endpoint ON alert (endpoint);
CREATE INDEX alert_status ON alert (status);
CREATE INDEX monitor_slice_end_us ON monitor_slice (end_us);
CREATE INDEX access_token_holder ON access_token (holder);
CREATE INDEX access_token_hash ON access_token (hash);
CREATE INDEX schedule_state_last_us ON schedule_state (last_us);
CREATE INDEX edges_effect ON edges (effect, cause);
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE position = NEW.position) BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE INDEX runs_open ON runs (ended, created_us, position);
CREATE INDEX runs_subject ON runs (workflow, subject, created_us);
CREATE INDEX ix_runs_fence ON runs (fence);
CREATE INDEX runs_created ON runs (created_us, position);
CREATE INDEX tracked_runs_parent ON tracked_runs (experiment, parent, started_us);
CREATE INDEX tracked_runs_recent ON tracked_runs (experiment, started_us);
CREATE INDEX run_parameters_value ON run_parameters ("key", value, run);
CREATE INDEX run_tags_value ON run_tags ("key", value, run);
CREATE INDEX run_metrics_value ON run_metrics (experiment, "key", value, run);
CREATE INDEX run_inputs_name ON run_inputs (name, digest, run);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',2);
COMMIT;
