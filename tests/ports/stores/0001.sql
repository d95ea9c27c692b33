BEGIN TRANSACTION;
CREATE TABLE alert (
	id TEXT NOT NULL, 
	endpoint TEXT, 
	kind TEXT, 
	status TEXT, 
	raised_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "alert" VALUES('delay.drift.last','delay','drift','open',1375617600000000,'{"id":"delay.drift.last","endpoint":"delay","kind":"drift","subject":"last","severity":"critical","message":"last drifts","evidence":{},"raised_us":1375617600000000,"last_seen_us":1375704000000000,"status":"open","resolved_us":null,"monitor_run":"m1"}');
CREATE TABLE alias (
	model TEXT NOT NULL, 
	alias TEXT NOT NULL, 
	since_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (model, alias)
);
INSERT INTO "alias" VALUES('delay','champion',1373889600000000,'{"model":"delay","alias":"champion","number":1,"since_us":1373889600000000,"reason":""}');
CREATE TABLE approval (
	model TEXT NOT NULL, 
	number TEXT NOT NULL, 
	at_us TEXT NOT NULL, 
	decision TEXT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (model, number, at_us)
);
INSERT INTO "approval" VALUES('delay','00000000000000000001','00001373889600000000','approve','{"model":"delay","number":1,"decision":"approve","reviewer":"anna","reason":"good ☕","evidence":{"roc_auc":0.71},"at_us":1373889600000000}');
CREATE TABLE audit (
	position BIGINT NOT NULL, 
	previous TEXT NOT NULL, 
	hash TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (position)
);
INSERT INTO "audit" VALUES(1,'','74159c34903edaa3f91796045fcfda159851e21de60741180fbf8a5424a6f2ed','{"actor":"anna","action":"version.approve","subject":"delay@0","at_us":1373889600000000,"body":{"reason":"good"},"position":1,"previous":"","hash":""}');
INSERT INTO "audit" VALUES(2,'74159c34903edaa3f91796045fcfda159851e21de60741180fbf8a5424a6f2ed','3bde27ce93bf7f011ea77ade4952bbabeb523ee95661adc5cdc26a02fba2a65d','{"actor":"anna","action":"version.approve","subject":"delay@1","at_us":1373889600000001,"body":{"reason":"good"},"position":2,"previous":"74159c34903edaa3f91796045fcfda159851e21de60741180fbf8a5424a6f2ed","hash":""}');
INSERT INTO "audit" VALUES(3,'3bde27ce93bf7f011ea77ade4952bbabeb523ee95661adc5cdc26a02fba2a65d','bb1bdcae86979a363f3c63a9c6ce0a133b04851a07f990d150a4501073261451','{"actor":"anna","action":"version.approve","subject":"delay@2","at_us":1373889600000002,"body":{"reason":"good"},"position":3,"previous":"3bde27ce93bf7f011ea77ade4952bbabeb523ee95661adc5cdc26a02fba2a65d","hash":""}');
CREATE TABLE cursor (
	consumer TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (consumer)
);
INSERT INTO "cursor" VALUES('loop','{"consumer":"loop","position":3}');
CREATE TABLE dataset (
	name TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "dataset" VALUES('delays','{"name":"delays","definition":{"features":{"name":"delay","views":[{"type":"FeatureView","name":"origin_delays","entities":[{"name":"airport","join_keys":["origin"],"description":"","owner":"","tags":{}}],"source":{"name":"arrivals","fields":{"at":"timestamp","delay":"float","id":"string","origin":"string"},"timestamp_field":"at","id_field":"id","path":null,"owner":"","description":"","created_field":null,"url":null,"query":null,"watermark":null,"lateness":"0s","contract":null,"tags":{}},"features":{"last":{"sql":"delay","aggregation":null,"window":null}},"ttl":null,"hop":"15m","owner":"","description":"","tags":{},"descriptions":{}}],"owner":"","description":"","tags":{},"selected":[]},"labels":{"name":"arrivals","fields":{"at":"timestamp","delay":"float","id":"string","origin":"string"},"timestamp_field":"at","id_field":"id","path":null,"owner":"","description":"","created_field":null,"url":null,"query":null,"watermark":null,"lateness":"0s","contract":null,"tags":{}},"label":{"sql":"delay > 15","aggregation":null,"window":null},"timestamp":"at","window":"365d","split":{"type":"time","test":"7d"},"filter":"","checks":[]},"owner":"ada","description":"","tags":{}}');
CREATE TABLE dataset_version (
	name TEXT NOT NULL, 
	number TEXT NOT NULL, 
	created_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name, number)
);
INSERT INTO "dataset_version" VALUES('delay','00000000000000000001',1373889600000000,'{"name":"delay","number":1,"digest":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","table":"datasets/delay/1","table_version":0,"rows":100,"train_rows":80,"test_rows":20,"start_us":1373889600000000,"end_us":1373976000000000,"test_from_us":1373932800000000,"created_us":1373889600000000,"run":"r1","statistics":"","sources":{},"environment":"","schema":"","quality":{},"split":null,"definition":""}');
CREATE TABLE deployed (
	pipeline TEXT NOT NULL, 
	environment TEXT NOT NULL, 
	since_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (pipeline, environment)
);
INSERT INTO "deployed" VALUES('delay','prod',1373889600000000,'{"pipeline":"delay","environment":"prod","release":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","definition":{"name":"delay","train":"project:train","dataset":{"features":{"name":"delay","views":[{"type":"FeatureView","name":"origin_delays","entities":[{"name":"airport","join_keys":["origin"],"description":"","owner":"","tags":{}}],"source":{"name":"arrivals","fields":{"at":"timestamp","delay":"float","id":"string","origin":"string"},"timestamp_field":"at","id_field":"id","path":null,"owner":"","description":"","created_field":null,"url":null,"query":null,"watermark":null,"lateness":"0s","contract":null,"tags":{}},"features":{"last":{"sql":"delay","aggregation":null,"window":null}},"ttl":null,"hop":"15m","owner":"","description":"","tags":{},"descriptions":{}}],"owner":"","description":"","tags":{},"selected":[]},"labels":{"name":"arrivals","fields":{"at":"timestamp","delay":"float","id":"string","origin":"string"},"timestamp_field":"at","id_field":"id","path":null,"owner":"","description":"","created_field":null,"url":null,"query":null,"watermark":null,"lateness":"0s","contract":null,"tags":{}},"label":{"sql":"delay > 15","aggregation":null,"window":null},"timestamp":"at","window":"365d","split":{"type":"time","test":"7d"},"filter":"","checks":[]},"problem":"classification","gates":[],"triggers":[],"parameters":{},"max_runs_per_week":14,"give_up_after":5},"since_us":1373889600000000}');
CREATE TABLE edges (
	cause TEXT NOT NULL, 
	effect TEXT NOT NULL, 
	at_us BIGINT NOT NULL, 
	PRIMARY KEY (cause, effect)
)
 WITHOUT ROWID

;
INSERT INTO "edges" VALUES('dataset_version:delay@1','model_version:delay@1',1373889600000000);
INSERT INTO "edges" VALUES('experiment_run:a1','blob:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',1373889600000000);
INSERT INTO "edges" VALUES('run:r1','model_version:delay@1',1373889600000000);
CREATE TABLE endpoint (
	name TEXT NOT NULL, 
	model TEXT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "endpoint" VALUES('delay','delay','{"name":"delay","model":"delay","rollout":{"steps":[5,25,50],"hold":"30m","shadow":"0s","analysis":[],"unit":"","patience":5}}');
CREATE TABLE events (
	position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	body TEXT NOT NULL
);
INSERT INTO "events" VALUES(1,'{"kind":"run.finished","subject":"r0","at_us":1373889600000000,"body":{"status":"succeeded"},"position":0}');
INSERT INTO "events" VALUES(2,'{"kind":"run.finished","subject":"r1","at_us":1373889600000001,"body":{"status":"succeeded"},"position":0}');
INSERT INTO "events" VALUES(3,'{"kind":"run.finished","subject":"r2","at_us":1373889600000002,"body":{"status":"succeeded"},"position":0}');
CREATE TABLE experiment_run (
	id TEXT NOT NULL, 
	experiment TEXT, 
	started_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "experiment_run" VALUES('e1','delay',1373889600000000,'{"id":"e1","experiment":"delay","name":"[bold]first[/bold]","status":"finished","started_us":1373889600000000,"ended_us":null,"parameters":{},"metrics":{"roc_auc":0.7},"tags":{},"source":{}}');
INSERT INTO "experiment_run" VALUES('a1','late-flights',1373889600000000,'{"id":"a1","experiment":"late-flights","name":"deeper trees","status":"finished","started_us":1373889600000000,"ended_us":1373889600000009,"parameters":{"deep":{"list":[1,2.5]},"depth":8,"early":true,"name":"gbm","none":null,"rate":0.1},"metrics":{"auc":0.7,"log_loss":0.46},"tags":{"artifact.importance.svg":"cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc","metric.gap":"nan","note":"tür ☕ ''\" ; DROP TABLE"},"source":{"commit":"c0ffee","packages":"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee","seeds":"7"}}');
INSERT INTO "experiment_run" VALUES('a2','late-flights',1373889600000001,'{"id":"a2","experiment":"late-flights","name":"a2","status":"running","started_us":1373889600000001,"ended_us":null,"parameters":{},"metrics":{},"tags":{},"source":{}}');
INSERT INTO "experiment_run" VALUES('a3','Default',1373889600000002,'{"id":"a3","experiment":"Default","name":"named as the new one","status":"failed","started_us":1373889600000002,"ended_us":1373889600000003,"parameters":{},"metrics":{},"tags":{"error":"ValueError: x"},"source":{}}');
INSERT INTO "experiment_run" VALUES('a4','late-flights',1373889600000004,'{"id":"a4","experiment":"late-flights","name":"long","status":"finished","started_us":1373889600000004,"ended_us":1373889600000005,"parameters":{"text":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},"metrics":{},"tags":{},"source":{}}');
CREATE TABLE feature_service (
	name TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "feature_service" VALUES('delay','{"name":"delay","views":[{"type":"FeatureView","name":"origin_delays","entities":[{"name":"airport","join_keys":["origin"],"description":"","owner":"","tags":{}}],"source":{"name":"arrivals","fields":{"at":"timestamp","delay":"float","id":"string","origin":"string"},"timestamp_field":"at","id_field":"id","path":null,"owner":"","description":"","created_field":null,"url":null,"query":null,"watermark":null,"lateness":"0s","contract":null,"tags":{}},"features":{"last":{"sql":"delay","aggregation":null,"window":null}},"ttl":null,"hop":"15m","owner":"","description":"","tags":{},"descriptions":{}}],"owner":"","description":"","tags":{},"selected":[]}');
CREATE TABLE feature_view (
	name TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "feature_view" VALUES('origin_delays','{"type":"FeatureView","name":"origin_delays","entities":[{"name":"airport","join_keys":["origin"],"description":"","owner":"","tags":{}}],"source":{"name":"arrivals","fields":{"at":"timestamp","delay":"float","id":"string","origin":"string"},"timestamp_field":"at","id_field":"id","path":null,"owner":"","description":"","created_field":null,"url":null,"query":null,"watermark":null,"lateness":"0s","contract":null,"tags":{}},"features":{"last":{"sql":"delay","aggregation":null,"window":null}},"ttl":null,"hop":"15m","owner":"","description":"","tags":{},"descriptions":{}}');
CREATE TABLE feature_view_version (
	name TEXT NOT NULL, 
	number TEXT NOT NULL, 
	created_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name, number)
);
INSERT INTO "feature_view_version" VALUES('origin_delays','00000000000000000001',1373889600000000,'{"name":"origin_delays","number":1,"view":{"type":"FeatureView","name":"origin_delays","entities":[{"name":"airport","join_keys":["origin"],"description":"","owner":"","tags":{}}],"source":{"name":"arrivals","fields":{"at":"timestamp","delay":"float","id":"string","origin":"string"},"timestamp_field":"at","id_field":"id","path":null,"owner":"","description":"","created_field":null,"url":null,"query":null,"watermark":null,"lateness":"0s","contract":null,"tags":{}},"features":{"last":{"sql":"delay","aggregation":null,"window":null}},"ttl":null,"hop":"15m","owner":"","description":"","tags":{},"descriptions":{}},"created_us":1373889600000000,"retired_us":null}');
CREATE TABLE ingestion (
	source TEXT NOT NULL, 
	number TEXT NOT NULL, 
	status TEXT, 
	at_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (source, number)
);
INSERT INTO "ingestion" VALUES('arrivals','00000000000000000001','done',1373889600000000,'{"source":"arrivals","number":1,"status":"done","files":1,"rows_in":2,"rows_out":1,"known":1,"rejected":0,"rejections":[{"file":"one.csv","row":2,"reason":"delay is no number","raw":"late"}],"at_us":1373889600000000,"actor":"","origin":"","watermark":null,"version":null,"reason":"","stale":""}');
CREATE TABLE intake (
	source TEXT NOT NULL, 
	writer TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (source, writer)
);
INSERT INTO "intake" VALUES('arrivals','files','{"source":"arrivals","writer":"files","origin":"/data/*.csv","number":1,"counts":{"rows_in":2,"rows_out":1,"known":1,"rejected":0},"counts_before":{"rows_in":0,"rows_out":0,"known":0,"rejected":0},"until":null,"before":null,"settled":true,"done":false}');
CREATE TABLE model_version (
	model TEXT NOT NULL, 
	number TEXT NOT NULL, 
	created_us BIGINT, 
	status TEXT, 
	run TEXT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (model, number)
);
INSERT INTO "model_version" VALUES('delay','00000000000000000001',1373889600000001,'approved','r1','{"model":"delay","number":1,"bundle":"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff","format":"lightgbm","run":"r1","dataset":"delay@1","release":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","created_us":1373889600000001,"status":"approved","metrics":{"log_loss":0.52,"roc_auc":0.71},"parameters":{},"evaluation":"","statistics":"","trigger":"manual"}');
INSERT INTO "model_version" VALUES('delay','00000000000000000002',1373889600000002,'registered','r1','{"model":"delay","number":2,"bundle":"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff","format":"lightgbm","run":"r1","dataset":"delay@1","release":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","created_us":1373889600000002,"status":"registered","metrics":{"log_loss":0.52,"roc_auc":0.71},"parameters":{},"evaluation":"","statistics":"","trigger":"manual"}');
INSERT INTO "model_version" VALUES('other','00000000000000000001',1373889599999995,'registered','r9','{"model":"other","number":1,"bundle":"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff","format":"skops","run":"r9","dataset":"other@1","release":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","created_us":1373889599999995,"status":"registered","metrics":{},"parameters":{},"evaluation":"","statistics":"","trigger":"manual"}');
CREATE TABLE monitor (
	endpoint_name TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (endpoint_name)
);
INSERT INTO "monitor" VALUES('delay','{"endpoint":{"name":"delay","model":"delay","rollout":{"steps":[5,25,50],"hold":"30m","shadow":"0s","analysis":[],"unit":"","patience":5}},"schedule":"0 1 * * *","expected_days_between_false_alarms":90,"reference_days":90,"gap_days":7}');
CREATE TABLE monitor_slice (
	endpoint TEXT NOT NULL, 
	start_us TEXT NOT NULL, 
	end_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (endpoint, start_us)
);
INSERT INTO "monitor_slice" VALUES('delay','00001373889600000000',1373976000000000,'{"endpoint":"delay","start_us":1373889600000000,"end_us":1373976000000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.5,"roc_auc":0.7},"all":{"labelled":500.0,"log_loss":0.5,"roc_auc":0.7}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001373976000000000',1374062400000000,'{"endpoint":"delay","start_us":1373976000000000,"end_us":1374062400000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.535,"roc_auc":0.6649999999999999},"all":{"labelled":500.0,"log_loss":0.535,"roc_auc":0.6649999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001374062400000000',1374148800000000,'{"endpoint":"delay","start_us":1374062400000000,"end_us":1374148800000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.52,"roc_auc":0.6799999999999999},"all":{"labelled":500.0,"log_loss":0.52,"roc_auc":0.6799999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001374148800000000',1374235200000000,'{"endpoint":"delay","start_us":1374148800000000,"end_us":1374235200000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.505,"roc_auc":0.695},"all":{"labelled":500.0,"log_loss":0.505,"roc_auc":0.695}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001374235200000000',1374321600000000,'{"endpoint":"delay","start_us":1374235200000000,"end_us":1374321600000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.54,"roc_auc":0.6599999999999999},"all":{"labelled":500.0,"log_loss":0.54,"roc_auc":0.6599999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001374321600000000',1374408000000000,'{"endpoint":"delay","start_us":1374321600000000,"end_us":1374408000000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.525,"roc_auc":0.6749999999999999},"all":{"labelled":500.0,"log_loss":0.525,"roc_auc":0.6749999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001374408000000000',1374494400000000,'{"endpoint":"delay","start_us":1374408000000000,"end_us":1374494400000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.51,"roc_auc":0.69},"all":{"labelled":500.0,"log_loss":0.51,"roc_auc":0.69}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001374494400000000',1374580800000000,'{"endpoint":"delay","start_us":1374494400000000,"end_us":1374580800000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.545,"roc_auc":0.6549999999999999},"all":{"labelled":500.0,"log_loss":0.545,"roc_auc":0.6549999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001374580800000000',1374667200000000,'{"endpoint":"delay","start_us":1374580800000000,"end_us":1374667200000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.53,"roc_auc":0.6699999999999999},"all":{"labelled":500.0,"log_loss":0.53,"roc_auc":0.6699999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001374667200000000',1374753600000000,'{"endpoint":"delay","start_us":1374667200000000,"end_us":1374753600000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.515,"roc_auc":0.6849999999999999},"all":{"labelled":500.0,"log_loss":0.515,"roc_auc":0.6849999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001374753600000000',1374840000000000,'{"endpoint":"delay","start_us":1374753600000000,"end_us":1374840000000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.5,"roc_auc":0.7},"all":{"labelled":500.0,"log_loss":0.5,"roc_auc":0.7}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001374840000000000',1374926400000000,'{"endpoint":"delay","start_us":1374840000000000,"end_us":1374926400000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.535,"roc_auc":0.6649999999999999},"all":{"labelled":500.0,"log_loss":0.535,"roc_auc":0.6649999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001374926400000000',1375012800000000,'{"endpoint":"delay","start_us":1374926400000000,"end_us":1375012800000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.52,"roc_auc":0.6799999999999999},"all":{"labelled":500.0,"log_loss":0.52,"roc_auc":0.6799999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001375012800000000',1375099200000000,'{"endpoint":"delay","start_us":1375012800000000,"end_us":1375099200000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.505,"roc_auc":0.695},"all":{"labelled":500.0,"log_loss":0.505,"roc_auc":0.695}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001375099200000000',1375185600000000,'{"endpoint":"delay","start_us":1375099200000000,"end_us":1375185600000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.54,"roc_auc":0.6599999999999999},"all":{"labelled":500.0,"log_loss":0.54,"roc_auc":0.6599999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001375185600000000',1375272000000000,'{"endpoint":"delay","start_us":1375185600000000,"end_us":1375272000000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.525,"roc_auc":0.6749999999999999},"all":{"labelled":500.0,"log_loss":0.525,"roc_auc":0.6749999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001375272000000000',1375358400000000,'{"endpoint":"delay","start_us":1375272000000000,"end_us":1375358400000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.51,"roc_auc":0.69},"all":{"labelled":500.0,"log_loss":0.51,"roc_auc":0.69}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001375358400000000',1375444800000000,'{"endpoint":"delay","start_us":1375358400000000,"end_us":1375444800000000,"rows":520,"labelled":500,"counts":{},"performance":{"1":{"labelled":500.0,"log_loss":0.545,"roc_auc":0.6549999999999999},"all":{"labelled":500.0,"log_loss":0.545,"roc_auc":0.6549999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001375444800000000',1375531200000000,'{"endpoint":"delay","start_us":1375444800000000,"end_us":1375531200000000,"rows":520,"labelled":500,"counts":{},"performance":{"2":{"labelled":500.0,"log_loss":0.53,"roc_auc":0.6699999999999999},"all":{"labelled":500.0,"log_loss":0.53,"roc_auc":0.6699999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001375531200000000',1375617600000000,'{"endpoint":"delay","start_us":1375531200000000,"end_us":1375617600000000,"rows":520,"labelled":500,"counts":{},"performance":{"2":{"labelled":500.0,"log_loss":0.515,"roc_auc":0.6849999999999999},"all":{"labelled":500.0,"log_loss":0.515,"roc_auc":0.6849999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001375617600000000',1375704000000000,'{"endpoint":"delay","start_us":1375617600000000,"end_us":1375704000000000,"rows":520,"labelled":500,"counts":{},"performance":{"2":{"labelled":500.0,"log_loss":0.5,"roc_auc":0.7},"all":{"labelled":500.0,"log_loss":0.5,"roc_auc":0.7}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001375704000000000',1375790400000000,'{"endpoint":"delay","start_us":1375704000000000,"end_us":1375790400000000,"rows":520,"labelled":500,"counts":{},"performance":{"2":{"labelled":500.0,"log_loss":0.535,"roc_auc":0.6649999999999999},"all":{"labelled":500.0,"log_loss":0.535,"roc_auc":0.6649999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001375790400000000',1375876800000000,'{"endpoint":"delay","start_us":1375790400000000,"end_us":1375876800000000,"rows":520,"labelled":500,"counts":{},"performance":{"2":{"labelled":500.0,"log_loss":0.52,"roc_auc":0.6799999999999999},"all":{"labelled":500.0,"log_loss":0.52,"roc_auc":0.6799999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001375876800000000',1375963200000000,'{"endpoint":"delay","start_us":1375876800000000,"end_us":1375963200000000,"rows":520,"labelled":500,"counts":{},"performance":{"2":{"labelled":500.0,"log_loss":0.505,"roc_auc":0.695},"all":{"labelled":500.0,"log_loss":0.505,"roc_auc":0.695}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001375963200000000',1376049600000000,'{"endpoint":"delay","start_us":1375963200000000,"end_us":1376049600000000,"rows":520,"labelled":500,"counts":{},"performance":{"2":{"labelled":500.0,"log_loss":0.54,"roc_auc":0.6599999999999999},"all":{"labelled":500.0,"log_loss":0.54,"roc_auc":0.6599999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001376049600000000',1376136000000000,'{"endpoint":"delay","start_us":1376049600000000,"end_us":1376136000000000,"rows":520,"labelled":500,"counts":{},"performance":{"2":{"labelled":500.0,"log_loss":0.525,"roc_auc":0.6749999999999999},"all":{"labelled":500.0,"log_loss":0.525,"roc_auc":0.6749999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001376136000000000',1376222400000000,'{"endpoint":"delay","start_us":1376136000000000,"end_us":1376222400000000,"rows":520,"labelled":500,"counts":{},"performance":{"2":{"labelled":500.0,"log_loss":0.51,"roc_auc":0.69},"all":{"labelled":500.0,"log_loss":0.51,"roc_auc":0.69}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001376222400000000',1376308800000000,'{"endpoint":"delay","start_us":1376222400000000,"end_us":1376308800000000,"rows":520,"labelled":500,"counts":{},"performance":{"2":{"labelled":500.0,"log_loss":0.545,"roc_auc":0.6549999999999999},"all":{"labelled":500.0,"log_loss":0.545,"roc_auc":0.6549999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001376308800000000',1376395200000000,'{"endpoint":"delay","start_us":1376308800000000,"end_us":1376395200000000,"rows":520,"labelled":500,"counts":{},"performance":{"2":{"labelled":500.0,"log_loss":0.53,"roc_auc":0.6699999999999999},"all":{"labelled":500.0,"log_loss":0.53,"roc_auc":0.6699999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
INSERT INTO "monitor_slice" VALUES('delay','00001376395200000000',1376481600000000,'{"endpoint":"delay","start_us":1376395200000000,"end_us":1376481600000000,"rows":520,"labelled":500,"counts":{},"performance":{"2":{"labelled":500.0,"log_loss":0.515,"roc_auc":0.6849999999999999},"all":{"labelled":500.0,"log_loss":0.515,"roc_auc":0.6849999999999999}},"efficiency":{"answers":520.0,"latency_p95_ms":4.2},"run":"","schema":0}');
CREATE TABLE on_demand_feature_view (
	name TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "on_demand_feature_view" VALUES('ratio','{"type":"OnDemandFeatureView","name":"ratio","inputs":{"a":"float","b":"float"},"features":{"share":{"sql":"a / b","aggregation":null,"window":null}},"owner":"","description":"","tags":{},"descriptions":{}}');
CREATE TABLE pipeline_release (
	digest TEXT NOT NULL, 
	project TEXT, 
	created_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (digest)
);
INSERT INTO "pipeline_release" VALUES('dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','flights',1373889600000000,'{"digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","project":"flights","bundle":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","module":"project","commit":"c0ffee","dirty":false,"lock":"","python":"3.11.7","created_us":1373889600000000}');
CREATE TABLE release (
	endpoint TEXT NOT NULL, 
	revision TEXT NOT NULL, 
	since_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (endpoint, revision)
);
INSERT INTO "release" VALUES('delay','00000000000000000001',1373889600000000,'{"endpoint":"delay","revision":1,"routes":[{"model":"delay","number":1,"bundle":"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff","role":"stable","weight":100}],"unit":"","since_us":1373889600000000,"rollout":"","salt":""}');
CREATE TABLE release_policy (
	model TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (model)
);
INSERT INTO "release_policy" VALUES('delay','{"model":"delay","level":"manual"}');
CREATE TABLE rollout (
	id TEXT NOT NULL, 
	endpoint TEXT, 
	state TEXT, 
	started_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "rollout" VALUES('rollout.delay.1','delay','promoted',1373889600000000,'{"id":"rollout.delay.1","endpoint":"delay","model":"delay","candidate":1,"champion":0,"state":"promoted","step":0,"started_us":1373889600000000,"ended_us":1373889660000000,"reason":"first version, nothing to compare with","history":[]}');
CREATE TABLE rota_schema (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "rota_schema" VALUES(1);
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
INSERT INTO "runs" VALUES(1,'r1','train','delay','{}',1373889600000000,'manual','parked',1373889600000000,NULL,2747779200000000,'approval','',1,1,'null','',0,0,5.0);
INSERT INTO "runs" VALUES(2,'r2','train','delay','{"rate":0.5}',1373889600000001,'manual','queued',NULL,NULL,0,'','',0,0,'null','',0,1,0.0);
CREATE TABLE schedule_state (
	name TEXT NOT NULL, 
	last_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "schedule_state" VALUES('delay.0',1373889600000000,'{"name":"delay.0","last_us":1373889600000000}');
CREATE TABLE schema (
	name TEXT NOT NULL, 
	version TEXT NOT NULL, 
	frozen_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name, version)
);
INSERT INTO "schema" VALUES('delay','00000000000000000001',1373889600000000,'{"name":"delay","version":1,"columns":[{"name":"origin_delays__last","type":"float","max_null_share":1.0,"domain":null,"minimum":-5.0,"maximum":60.0,"policy":{},"required":true,"min_count":0,"max_unknown_share":0.0,"allow_nan":true,"allow_inf":true,"min_unique":null,"max_unique":null,"min_values":null,"max_values":null,"in_environment":[],"not_in_environment":[],"skew":null,"drift":null,"definition":""}],"bins":[],"dataset":"delay@1","digest":"","frozen_us":1373889600000000,"environments":["TRAINING","SERVING"],"policy":{},"constraints":{"min_examples":1,"max_examples":null,"min_fraction":null,"max_fraction":null},"author":"","created_us":0}');
CREATE TABLE seen_file (
	source TEXT NOT NULL, 
	file TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (source, file)
);
INSERT INTO "seen_file" VALUES('arrivals','one.csv','{"source":"arrivals","file":"one.csv","stamp":"17-35","writer":"files"}');
CREATE TABLE serving (
	endpoint TEXT NOT NULL, 
	process TEXT NOT NULL, 
	at_us BIGINT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (endpoint, process)
);
INSERT INTO "serving" VALUES('delay','p1',1373889600000000,'{"endpoint":"delay","process":"p1","revision":1,"at_us":1373889600000000,"error":""}');
CREATE TABLE signals (
	run TEXT NOT NULL, 
	name TEXT NOT NULL, 
	payload TEXT NOT NULL, 
	PRIMARY KEY (run, name)
);
INSERT INTO "signals" VALUES('r2','cancel','{"by":"ada"}');
CREATE TABLE source (
	name TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "source" VALUES('arrivals','{"name":"arrivals","fields":{"at":"timestamp","delay":"float","id":"string","origin":"string"},"timestamp_field":"at","id_field":"id","path":null,"owner":"","description":"","created_field":null,"url":null,"query":null,"watermark":null,"lateness":"0s","contract":null,"tags":{}}');
CREATE TABLE steps (
	run TEXT NOT NULL, 
	name TEXT NOT NULL, 
	position BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (run, name)
);
INSERT INTO "steps" VALUES('r1','ingest',0,'{"run":"r1","name":"ingest","position":0,"result":{"rows":5},"started_us":1373889600000000,"ended_us":1373889600000000,"worker":"w1","fence":1}');
CREATE INDEX ingestion_status ON ingestion (status);
CREATE INDEX ingestion_at_us ON ingestion (at_us);
CREATE INDEX feature_view_version_created_us ON feature_view_version (created_us);
CREATE INDEX schema_frozen_us ON schema (frozen_us);
CREATE INDEX dataset_version_created_us ON dataset_version (created_us);
CREATE INDEX pipeline_release_project ON pipeline_release (project);
CREATE INDEX pipeline_release_created_us ON pipeline_release (created_us);
CREATE INDEX deployed_since_us ON deployed (since_us);
CREATE INDEX experiment_run_started_us ON experiment_run (started_us);
CREATE INDEX experiment_run_experiment ON experiment_run (experiment);
CREATE INDEX model_version_created_us ON model_version (created_us);
CREATE INDEX model_version_run ON model_version (run);
CREATE INDEX model_version_status ON model_version (status);
CREATE INDEX alias_since_us ON alias (since_us);
CREATE INDEX approval_decision ON approval (decision);
CREATE INDEX endpoint_model ON endpoint (model);
CREATE INDEX release_since_us ON release (since_us);
CREATE INDEX serving_at_us ON serving (at_us);
CREATE INDEX rollout_state ON rollout (state);
CREATE INDEX rollout_started_us ON rollout (started_us);
CREATE INDEX rollout_endpoint ON rollout (endpoint);
CREATE INDEX alert_kind ON alert (kind);
CREATE INDEX alert_raised_us ON alert (raised_us);
CREATE INDEX alert_endpoint ON alert (endpoint);
CREATE INDEX alert_status ON alert (status);
CREATE INDEX monitor_slice_end_us ON monitor_slice (end_us);
CREATE INDEX schedule_state_last_us ON schedule_state (last_us);
CREATE INDEX edges_effect ON edges (effect, cause);
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE INDEX runs_open ON runs (ended, created_us, position);
CREATE INDEX ix_runs_fence ON runs (fence);
CREATE INDEX runs_created ON runs (created_us, position);
CREATE INDEX runs_subject ON runs (workflow, subject, created_us);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',3);
COMMIT;
