{% import "macros.sql" as m %}
-- Counts: numerator and the denominator that its indicator declares for that period.
WITH counted AS (
    SELECT
        i.indicator_id, i.unit, i.part_of_whole, i.factor, i.denominator AS denominator_measure,
        i.small_base,
        n.area_id, n.period_type, n.reference_date, n.area_level, n.period,
        n.value AS numerator, d.value AS denominator,
        n.is_suppressed OR coalesce(d.is_suppressed, FALSE) AS withheld,
        n.obs_status AS n_status, coalesce(d.obs_status, 'A') AS d_status,
        n.method AS n_method, coalesce(d.method, 'delivered') AS d_method,
        n.data_as_of, n.delivery_ids AS n_deliveries, d.delivery_ids AS d_deliveries,
        {{ m.origin_rank('n.origin') }} AS n_rank,
        {{ m.origin_rank("coalesce(d.origin, 'published')") }} AS d_rank
    FROM indicator AS i
    JOIN indicator_level AS l ON l.indicator_id = i.indicator_id AND l.figure = 'counts'
    JOIN observation AS n
        ON n.measure_id = i.numerator AND n.category = i.numerator_category AND n.area_level = l.area_level
    LEFT JOIN observation AS d
        ON d.measure_id = i.denominator AND d.category = i.denominator_category AND d.area_id = n.area_id
        AND d.period_type = i.denominator_period_type
        AND d.reference_date = {{ m.denominator_date("i.denominator_date", "n.reference_date") }}
),

judged AS (
    SELECT
        *,
        -- A part above its whole is a fault of the data: no value, and the run says so.
        unit = 'percent' AND part_of_whole AND numerator > denominator AS impossible,
        -- No rate on an empty base, and none on one that its source calls too small to be relied on.
        denominator_measure IS NOT NULL AND denominator = 0 AS no_base,
        denominator_measure IS NOT NULL AND denominator < small_base AS weak_base,
        numerator IS NOT NULL AND (denominator_measure IS NULL OR denominator IS NOT NULL) AS complete,
        greatest(n_rank, d_rank) AS origin_rank
    FROM counted
),

computed AS (
    SELECT
        indicator_id, area_id, period_type, reference_date, area_level, period,
        numerator, denominator,
        CASE
            WHEN withheld OR impossible OR no_base OR weak_base OR NOT complete THEN NULL
            WHEN denominator_measure IS NULL THEN factor * numerator
            ELSE factor * numerator / nullif(denominator, 0)
        END AS value,
        CASE
            WHEN withheld THEN 'Q'
            WHEN NOT complete OR impossible THEN 'O'
            WHEN no_base OR weak_base THEN 'M'
            WHEN n_status = 'E' OR d_status = 'E' THEN 'E'
            ELSE 'A'
        END AS obs_status,
        CASE WHEN withheld THEN 'C' ELSE 'F' END AS conf_status,
        withheld AS is_suppressed,
        CASE
            WHEN withheld THEN 'inherited'
            WHEN NOT complete OR impossible THEN 'missing_source'
            WHEN no_base OR weak_base THEN 'denominator_small'
        END AS suppression_reason,
        {{ m.origin_of('origin_rank') }} AS origin,
        CASE
            WHEN n_method = 'estimated' OR d_method = 'estimated' THEN 'estimated'
            WHEN n_method = 'rolled_up' OR d_method = 'rolled_up' THEN 'rolled_up'
            ELSE 'delivered'
        END AS method,
        data_as_of,
        CASE
            WHEN d_deliveries IS NULL OR d_deliveries = n_deliveries THEN n_deliveries
            ELSE {{ m.united("n_deliveries || ';' || d_deliveries") }}
        END AS delivery_ids
    FROM judged
),

-- Levels on which the office publishes a rate and no counts.
published_rates AS (
    SELECT
        l.indicator_id, r.area_id, r.period_type, r.reference_date, r.area_level, r.period,
        CAST(NULL AS DOUBLE) AS numerator, CAST(NULL AS DOUBLE) AS denominator,
        r.value, r.obs_status, r.conf_status, r.is_suppressed, r.suppression_reason, r.origin, r.method, r.data_as_of,
        r.delivery_ids
    FROM indicator_level AS l
    JOIN observation AS r ON r.measure_id = l.rate_measure AND r.area_level = l.area_level AND r.category = 'insgesamt'
    WHERE l.figure = 'rate'
)

SELECT
    'counts' AS figure, indicator_id, area_id, period_type, reference_date, area_level, period, numerator, denominator, value, obs_status,
    conf_status, is_suppressed, suppression_reason, origin, method, data_as_of, delivery_ids
FROM computed
UNION ALL
SELECT
    'rate' AS figure, indicator_id, area_id, period_type, reference_date, area_level, period, numerator, denominator, value, obs_status,
    conf_status, is_suppressed, suppression_reason, origin, method, data_as_of, delivery_ids
FROM published_rates
