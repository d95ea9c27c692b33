"""Will this flight arrive more than 15 minutes late? Decided at scheduled departure, from what is known at that moment."""

import lightgbm

import rota

airport = rota.Entity("airport", ["origin"])
carrier = rota.Entity("carrier", ["carrier"])
destination = rota.Entity("destination", ["dest"])
plane = rota.Entity("plane", ["tailnum"])

arrivals = rota.Source(
    "arrivals",
    fields={
        "flight_id": "string",
        "tailnum": "string",
        "carrier": "string",
        "origin": "string",
        "dest": "string",
        "asked_at": "timestamp",
        "departs": "timestamp",
        "distance": "float",
        "arr_delay": "float",
        "published_at": "timestamp",
    },
    timestamp_field="published_at",
    id_field="flight_id",
    description="Flights that have arrived, as the feed publishes them each hour.",
)
weather = rota.Source(
    "weather",
    fields={
        "origin": "string",
        "observed_at": "timestamp",
        "temp": "float",
        "dewp": "float",
        "humid": "float",
        "wind_speed": "float",
        "precip": "float",
        "pressure": "float",
        "visib": "float",
    },
    timestamp_field="observed_at",
    description="Hourly observations at the three airports; temperatures in degrees Fahrenheit.",
)
planes = rota.Source(
    "planes",
    fields={"tailnum": "string", "listed_at": "timestamp", "built": "float", "seats": "float"},
    timestamp_field="listed_at",
    id_field="tailnum",
)


def delays(name: str, entity: rota.Entity) -> rota.FeatureView:
    """How late flights of an entity have been arriving."""
    return rota.FeatureView(
        name,
        [entity],
        arrivals,
        features={
            "mean_3h": rota.mean("arr_delay", window="3h"),
            "late_3h": rota.share("arr_delay > 15", window="3h"),
            "mean_24h": rota.mean("arr_delay", window="24h"),
            "late_24h": rota.share("arr_delay > 15", window="24h"),
        },
    )


origin_weather = rota.FeatureView(
    "origin_weather",
    [airport],
    weather,
    ttl="3h",
    features={name: rota.sql(name) for name in ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]},
)
origin_delays = delays("origin_delays", airport)
carrier_delays = delays("carrier_delays", carrier)
destination_delays = delays("destination_delays", destination)
plane_delay = rota.FeatureView("plane_delay", [plane], arrivals, ttl="24h", features={"previous": rota.sql("arr_delay")})
plane_facts = rota.FeatureView("plane", [plane], planes, features={"age": rota.sql("2013 - built"), "seats": rota.sql("seats")})
request = rota.OnDemandFeatureView(
    "request",
    inputs={"departs": "timestamp", "distance": "float", "origin": "string", "carrier": "string"},
    features={
        "hour": rota.sql("extract(hour from departs)"),
        "weekday": rota.sql("extract(isodow from departs)"),
        "log_km": rota.sql("ln(1 + 1.609344 * distance)"),
        "origin": rota.sql("origin"),
        "carrier": rota.sql("carrier"),
    },
)
features = rota.FeatureService("flight_delay", [origin_weather, origin_delays, carrier_delays, destination_delays, plane_delay, plane_facts, request])


@rota.step
def train(data: rota.TrainingData, rounds: int = 120, learning_rate: float = 0.05) -> lightgbm.Booster:
    """Gradient-boosted trees, regularised so that a winter's model still makes sense in spring."""
    settings = {
        "objective": "binary", "learning_rate": learning_rate, "num_leaves": 31, "min_data_in_leaf": 200, "lambda_l2": 10,
        "feature_fraction": 0.7, "bagging_fraction": 0.8, "bagging_freq": 1, "cat_smooth": 20, "cat_l2": 20, "max_cat_threshold": 16,
        "seed": 7, "deterministic": True, "force_row_wise": True, "num_threads": 2, "verbosity": -1,
    }  # fmt: skip
    rows = lightgbm.Dataset(data.train.x, data.train.y, feature_name=list(data.columns), categorical_feature=list(data.categorical))
    return lightgbm.train(settings, rows, num_boost_round=rounds)


pipeline = rota.TrainingPipeline(
    "flight-delay",
    train=train,
    dataset=rota.DatasetDefinition(
        features, labels=arrivals, label=rota.sql("arr_delay > 15"), timestamp="asked_at", window="180d", split=rota.TimeSplit(test="7d")
    ),
    gates=[
        rota.at_least("roc_auc", 0.6),
        rota.not_worse_than_champion("log_loss", margin=0.001),
        rota.per_slice("origin", "roc_auc", 0.55),
    ],
    triggers=[rota.cron("0 8 1,15 * *"), rota.on_alert("performance", cooldown="14d")],
)
policy = rota.ReleasePolicy("flight-delay", "automatic")
endpoint = rota.Endpoint(
    "flight-delay",
    model="flight-delay",
    rollout=rota.Canary(
        shadow="3d",
        steps=[25, 50],
        hold="1d",
        unit="flight_id",
        analysis=[rota.error_rate(margin=0.01), rota.latency_p95(ratio=5), rota.metric("log_loss", margin=0.01)],
    ),
)
monitor = rota.Monitor(endpoint, schedule="0 6 * * *", expected_days_between_false_alarms=90)
