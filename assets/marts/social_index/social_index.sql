{% import "macros.sql" as m %}
-- What an area itself brings along.
WITH own AS (
    SELECT
        index_id, of_year, area_id, dimension, max(gap) AS gap, bool_or(in_universe) AS in_universe,
        max(origin_rank) AS origin_rank, max(data_as_of) AS data_as_of,
        string_agg(nullif(delivery_ids, ''), ';') AS delivery_ids
    FROM index_input
    GROUP BY index_id, of_year, area_id, dimension
),

-- What all areas of the universe's level bring along: which of them belong to it depends on their figures, too.
universe AS (
    SELECT
        p.index_id, p.of_year, p.dimension, count(DISTINCT CASE WHEN p.in_universe THEN p.area_id END) AS n,
        max(p.origin_rank) AS origin_rank, max(p.data_as_of) AS data_as_of,
        {{ m.united("string_agg(nullif(p.delivery_ids, ''), ';')") }} AS delivery_ids
    FROM index_input AS p
    WHERE p.of_universe_level AND coalesce(p.gap <> 'excluded', TRUE)
    GROUP BY p.index_id, p.of_year, p.dimension
),

sizes AS (
    SELECT
        index_id, of_year, max(origin_rank) AS origin_rank, max(data_as_of) AS data_as_of,
        {{ m.united("string_agg(nullif(delivery_ids, ''), ';')") }} AS delivery_ids
    FROM index_candidate
    WHERE of_universe_level AND coalesce(refusal <> 'excluded', TRUE)
    GROUP BY index_id, of_year
),

placed AS (
    SELECT
        c.index_id, c.of_year, c.area_id, c.reference_date, c.area_level, i.dynamics_years,
        s.index_value AS status_index, s.class_id AS status_class,
        d.index_value AS dynamics_index, d.class_id AS dynamics_class,
        os.gap AS status_gap, od.gap AS dynamics_gap, os.in_universe,
        coalesce(us.n, 0) AS universe_n,
        CASE WHEN i.dynamics_years IS NOT NULL THEN coalesce(ud.n, 0) END AS dynamics_universe_n,
        -- what the dynamics rest on counts only where there are dynamics
        greatest(
            os.origin_rank, us.origin_rank, z.origin_rank,
            CASE WHEN d.index_value IS NOT NULL THEN greatest(od.origin_rank, ud.origin_rank) END
        ) AS origin_rank,
        greatest(
            os.data_as_of, us.data_as_of, z.data_as_of,
            CASE WHEN d.index_value IS NOT NULL THEN greatest(od.data_as_of, ud.data_as_of) END
        ) AS data_as_of,
        concat_ws(';', os.delivery_ids, us.delivery_ids, z.delivery_ids) AS status_deliveries,
        CASE
            WHEN d.index_value IS NOT NULL THEN concat_ws(';', od.delivery_ids, ud.delivery_ids)
        END AS dynamics_deliveries
    FROM index_candidate AS c
    JOIN index_in AS i ON i.index_id = c.index_id
    JOIN own AS os
        ON os.index_id = c.index_id AND os.of_year = c.of_year AND os.area_id = c.area_id AND os.dimension = 'status'
    LEFT JOIN own AS od
        ON od.index_id = c.index_id AND od.of_year = c.of_year AND od.area_id = c.area_id AND od.dimension = 'dynamics'
    LEFT JOIN universe AS us ON us.index_id = c.index_id AND us.of_year = c.of_year AND us.dimension = 'status'
    LEFT JOIN universe AS ud ON ud.index_id = c.index_id AND ud.of_year = c.of_year AND ud.dimension = 'dynamics'
    LEFT JOIN sizes AS z ON z.index_id = c.index_id AND z.of_year = c.of_year
    LEFT JOIN index_position AS s
        ON s.index_id = c.index_id AND s.of_year = c.of_year AND s.area_id = c.area_id AND s.dimension = 'status'
    LEFT JOIN index_position AS d
        ON d.index_id = c.index_id AND d.of_year = c.of_year AND d.area_id = c.area_id AND d.dimension = 'dynamics'
    WHERE c.reported
)

SELECT
    p.index_id, p.area_id, p.reference_date, p.area_level, CAST(p.reference_date AS VARCHAR) AS period,
    p.status_index, p.status_class, p.dynamics_index, p.dynamics_class,
    p.status_class || '/' || p.dynamics_class AS group_class,
    s.stability AS class_stability, d.stability AS dynamics_stability, f.one_case_flips,
    CAST(p.universe_n AS INTEGER) AS universe_n, CAST(p.dynamics_universe_n AS INTEGER) AS dynamics_universe_n,
    p.in_universe,
    CASE
        WHEN p.status_index IS NOT NULL THEN NULL
        WHEN p.status_gap IS NOT NULL THEN p.status_gap
        WHEN p.universe_n < 10 THEN 'universe_too_small'
        ELSE 'no_spread'
    END AS reason,
    CASE
        WHEN p.dynamics_index IS NOT NULL THEN NULL
        WHEN p.dynamics_years IS NULL THEN 'not_declared'
        WHEN p.dynamics_gap IS NOT NULL THEN p.dynamics_gap
        WHEN p.dynamics_universe_n < 10 THEN 'universe_too_small'
        ELSE 'no_spread'
    END AS dynamics_reason,
    CASE WHEN p.status_class IS NULL THEN 'no_class' ELSE s.stability_gap END AS stability_reason,
    {{ m.origin_of("p.origin_rank") }} AS origin,
    p.data_as_of,
    {{ m.united("concat_ws(';', p.status_deliveries, p.dynamics_deliveries)") }} AS delivery_ids
FROM placed AS p
LEFT JOIN index_certainty AS s
    ON s.index_id = p.index_id AND s.of_year = p.of_year AND s.area_id = p.area_id AND s.dimension = 'status'
LEFT JOIN index_certainty AS d
    ON d.index_id = p.index_id AND d.of_year = p.of_year AND d.area_id = p.area_id AND d.dimension = 'dynamics'
LEFT JOIN index_flip AS f ON f.index_id = p.index_id AND f.of_year = p.of_year AND f.area_id = p.area_id
